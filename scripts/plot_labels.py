"""Draw a scan with labels in colour, in three planes through their middle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sacb_bundle.spatial import Grid, Transform, read_image, read_label_map, resample

# Name: axis across it, in RAS.
PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("names", type=Path, help='JSON, {"1": "hippocampus", ...}')
    parser.add_argument("--output", type=Path, required=True, help="PNG")
    options = parser.parse_args()
    image, labels = read_image(options.scan), read_label_map(options.labels)
    names = {int(label): name for label, name in json.loads(options.names.read_text(encoding="utf-8")).items()}

    # Along the world's axes, whatever the scan's own are.
    corners = image.grid.corners
    spacing = min(image.grid.spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = corners.min(axis=0)
    shape = tuple(int(size) for size in np.ceil(np.ptp(corners, axis=0) / spacing) + 1)
    upright = resample(Transform(), Grid(shape, affine), [image], [labels])
    grey, found = upright.images[0].values, upright.labels[0].values
    middle = [int(places.mean()) for places in np.nonzero(found)]

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    colours = colormaps["tab10"]
    for axes, (plane, axis) in zip(figure.subplots(1, 3), PLANES.items(), strict=True):
        slices = (np.take(values, middle[axis], axis).T for values in (grey, found))
        shown, of_labels = slices
        axes.imshow(shown, cmap="gray", origin="lower")
        coloured = np.ma.masked_equal(of_labels, 0)
        axes.imshow(coloured, cmap=colours, vmin=0, vmax=9, alpha=0.45, origin="lower", interpolation="nearest")
        axes.set_title(plane)
        axes.set_axis_off()
    patches = [Patch(color=colours(label / 9), label=name) for label, name in sorted(names.items())]
    figure.legend(handles=patches, loc="outside right center", frameon=False)
    figure.savefig(options.output, dpi=110)


if __name__ == "__main__":
    main()
