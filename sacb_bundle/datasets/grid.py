"""The grid of a prepared data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data import Template
from ..spatial import Grid, body_of, check_memory, foreground, working_grid

DEFAULT_SPACING_MM = 2.0
# Sizes that a network takes.
_SIZE_DIVISOR = 16
# Share of a voxel that is a rounding error.
_TOLERANCE = 1e-3


def shared_grid(reference: Grid, spacing_mm: float | None, size: Sequence[int] | None) -> Grid:
    """Return the grid of subjects that are aligned: that of the reference, resampled, cropped or padded at its centre.

    Args:
        reference: grid of all subjects.
        spacing_mm: spacing of the result; None for that of the reference.
        size: numbers of voxels along its axes; None for those that cover the reference.

    Returns:
        The grid, along the axes of the reference. With its spacing, the voxels coincide.
    """
    spacing = np.full(3, spacing_mm) if spacing_mm is not None else np.array(reference.spacing)
    if size is None:
        size = [max(2, int(number)) for number in np.round(np.array(reference.extent) / spacing)]
    return _around(reference, reference.corners.mean(axis=0), spacing, size)


def grid_around_body(reference: Grid, template: Template, size: Sequence[int] | None) -> Grid:
    """Return the grid of subjects that are aligned to a template.

    Args:
        reference: grid of the template's image.
        template: the template, whose spacing the result has.
        size: numbers of voxels along the axes of the reference; None for a grid along the axes of the world that holds
            the body, in sizes that a network takes.

    Returns:
        The grid, with the body in its centre.
    """
    if size is None:
        return working_grid(foreground(template.image), template.spacing_mm, _SIZE_DIVISOR)
    return _around(reference, body_of(template.image).middle, np.full(3, template.spacing_mm), size)


def _around(reference: Grid, centre: np.ndarray, spacing: np.ndarray, size: Sequence[int]) -> Grid:
    """Return a grid along the axes of another, around a point, that continues its voxels if the spacing is the same."""
    steps = spacing / reference.spacing
    middle = reference.to_index(centre[None])[0] / steps
    # Voxels of another size share the outer face of the first voxel.
    offset = (1 - 1 / steps) / 2
    first = np.floor(middle - (np.array(size) - 1) / 2 - offset + _TOLERANCE) + offset
    affine = np.eye(4)
    affine[:3, :3] = reference.direction * spacing
    affine[:3, 3] = reference.to_world((first * steps)[None])[0]
    grid = Grid(tuple(size), affine)
    check_memory(grid)
    return grid
