"""Place arrays without a position in the world by the anatomy in their label maps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..spatial import Grid, Volume, thinned

# Labels that lie further right, anterior or superior ("R", "A", "S") than others, and those others.
Landmarks = Mapping[str, tuple[Collection[int], Collection[int]]]
# Voxels along each axis that are looked at.
_MOST_VOXELS = 96


def grid_by_anatomy(labels: np.ndarray, spacing: Sequence[float], landmarks: Landmarks, name: str) -> Grid:
    """Find the grid of a label map whose axes are unknown; its centre becomes the origin of the world.

    Args:
        labels: label map (D, H, W), int.
        spacing: spacing along each of its axes, in mm.
        landmarks: labels that tell the directions right, anterior and superior.
        name: name of the label map in error messages.

    Returns:
        The grid, whose axes run along those of the world.

    Raises:
        InputError: if labels are missing, or do not tell the directions.
    """
    unplaced = thinned(Volume(labels, Grid(labels.shape, np.diag([*spacing, 1.0]))), _MOST_VOXELS)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for world_axis, direction in enumerate("RAS"):
        there, here = (_centre(unplaced, values, name) for values in landmarks[direction])
        axis = int(np.abs(there - here).argmax())
        affine[world_axis, axis] = np.copysign(spacing[axis], (there - here)[axis])
    if np.linalg.matrix_rank(affine) < 4:
        raise InputError(
            f"{name}: its labels do not tell which axes run right, anterior and superior; is it the label map of this "
            "data set?"
        )
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(labels.shape) - 1) / 2)
    return Grid(labels.shape, affine)


def _centre(labels: Volume, values: Collection[int], name: str) -> np.ndarray:
    """Return the centre of mass of labels.

    Raises:
        InputError: if there are none.
    """
    places = np.argwhere(np.isin(labels.values, list(values)))
    if not len(places):
        raise InputError(
            f"{name}: has none of the labels {', '.join(map(str, sorted(values)))}, which tell where its axes run."
        )
    return labels.grid.to_world(places).mean(axis=0)
