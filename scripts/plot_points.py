"""Plot both directions of a transform: how it maps images and points from moving to fixed.

python scripts/demo.py --output demo
python scripts/plot_points.py demo --output docs/points.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import ConnectionPatch

from sacb_bundle.spatial import Volume, read_label_map, read_transform, read_volume, warp_points


def show(axes: plt.Axes, volume: Volume, plane: float, title: str) -> None:
    """Show an axial plane of a volume in world coordinates (mm)."""
    low, high = volume.grid.corners.min(axis=0), volume.grid.corners.max(axis=0)
    index = round(volume.grid.to_index(np.array([[*low[:2], plane]]))[0, 2])
    half = np.array(volume.grid.spacing) / 2
    extent = (low[0] - half[0], high[0] + half[0], low[1] - half[1], high[1] + half[1])
    axes.imshow(volume.values[:, :, index].T, origin="lower", cmap="gray", extent=extent)
    axes.set_title(title)
    axes.set_axis_off()


def main() -> None:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path, help="output folder of scripts/demo.py")
    parser.add_argument("--output", type=Path, required=True, help="image file to write")
    arguments = parser.parse_args()
    folder = arguments.demo
    results = folder / "phantom"

    labels = read_label_map(folder / "moving_labels.nii.gz")
    plane = labels.grid.corners.mean(axis=0)[2]
    index = round(labels.grid.to_index(np.array([[0, 0, plane]]))[0, 2])
    inside = np.argwhere(labels.values[:, :, index] > 0)
    extremes = [inside[np.argmax(inside @ direction)] for direction in ((1, 2), (1, -1), (-1, -2), (-1, 1))]
    points = [(*extreme, index) for extreme in extremes]
    moving_points = labels.grid.to_world(np.array(points))
    fixed_points = warp_points(read_transform(results / "transform.nii.gz"), moving_points)

    figure, panels = plt.subplots(1, 3, figsize=(11, 4.9), layout="constrained")
    show(panels[0], read_volume(folder / "moving.nii.gz"), plane, "moving image and its points")
    show(panels[1], read_volume(folder / "fixed.nii.gz"), plane, "fixed image, points after sacb apply")
    show(panels[2], read_volume(results / "warped.nii.gz"), plane, "moving image after sacb apply")
    for panel, shown in zip(panels, (moving_points, fixed_points, fixed_points), strict=True):
        panel.scatter(shown[:, 0], shown[:, 1], c=["C1", "C2", "C3", "C4"], s=30, edgecolors="white")
    for number, (start, end) in enumerate(zip(moving_points, fixed_points, strict=True)):
        arrow = ConnectionPatch(start[:2], end[:2], "data", "data", axesA=panels[0], axesB=panels[1])
        arrow.set(arrowstyle="-|>", color=f"C{number + 1}", linewidth=1)
        figure.add_artist(arrow)
    captions = (
        "points take the inverse →",
        "← transform.nii.gz: where to look in the moving image",
        "each voxel of the fixed grid, looked up",
    )
    for panel, caption in zip(panels, captions, strict=True):
        panel.text(0.5, -0.06, caption, transform=panel.transAxes, ha="center")
    figure.savefig(arguments.output, dpi=90)


if __name__ == "__main__":
    main()
