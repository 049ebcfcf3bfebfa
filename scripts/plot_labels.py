"""Plot a scan with coloured labels in three planes through the labels' centre, right on the left as in 3D Slicer."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sacb_bundle.data.atlases import read_label_names
from sacb_bundle.errors import InputError
from sacb_bundle.files import whole_file
from sacb_bundle.spatial import Grid, Transform, Volume, read_image, read_label_map, resample

# Plane: axis perpendicular to it, in RAS.
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}
MOST_NAMED = 20


def main() -> int:
    """Write the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, help="image to show")
    parser.add_argument("labels", type=Path, help="label map of the scan")
    parser.add_argument("names", type=Path, help='JSON file of label names, {"1": "hippocampus", ...}')
    parser.add_argument("--output", type=Path, required=True, help="PNG file to write")
    options = parser.parse_args()
    try:
        names = read_label_names(options.names)
        image, labels = upright(read_image(options.scan), read_label_map(options.labels))
        if not labels.any():
            raise InputError(f"{options.labels}: holds no labels.")
        with whole_file(options.output) as unfinished:
            unfinished.write_bytes(drawn(image, labels, names))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def upright(image: Volume, labels: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Resample both volumes along the world axes (RAS)."""
    corners = image.grid.corners
    spacing = min(image.grid.spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = corners.min(axis=0)
    shape = tuple(int(size) for size in np.ceil(np.ptp(corners, axis=0) / spacing) + 1)
    resampled = resample(Transform(), Grid(shape, affine), [image], [labels])
    return resampled.images[0].values, resampled.labels[0].values


def drawn(image: np.ndarray, labels: np.ndarray, names: dict[int, str]) -> bytes:
    """Return the plot as a PNG, with a legend of the label names unless there are too many."""
    present = np.unique(labels[labels > 0])
    colours = distinct_colours(len(present))
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (plane, axis) in zip(figure.subplots(1, 3), PLANES.items(), strict=True):
        middle = int(np.nonzero(labels)[axis].mean())
        grey, found = (np.take(values, middle, axis).T for values in (image, labels))
        coloured = np.zeros((*found.shape, 4))
        coloured[found > 0, :3] = colours[np.searchsorted(present, found[found > 0]), :3]
        coloured[found > 0, 3] = 0.45
        axes.imshow(grey, cmap="gray", origin="lower")
        axes.imshow(coloured, origin="lower", interpolation="nearest")
        if plane != "sagittal":
            axes.invert_xaxis()
            axes.text(0.02, 0.98, "R", color="white", transform=axes.transAxes, va="top")
        axes.set_title(plane)
        axes.set_axis_off()
    if len(present) <= MOST_NAMED:
        patches = [Patch(color=colours[n], label=names.get(int(label), str(label))) for n, label in enumerate(present)]
        figure.legend(handles=patches, loc="outside right center", frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def distinct_colours(count: int) -> np.ndarray:
    """Return colours (count, 4); neighbouring ones differ."""
    if count <= 10:
        return np.array([colormaps["tab10"](n) for n in range(count)])
    colours: np.ndarray = colormaps["turbo"](np.random.default_rng(0).permutation(count) / count)
    return colours


if __name__ == "__main__":
    sys.exit(main())
