"""Diffeomorphic displacement fields, and inverses that undo them although both are stored on grids."""

from __future__ import annotations

import numpy as np
import torch

from ..ops import unfolded
from .displacement_field import DisplacementField, map_affinely
from .grid import Grid
from .inverse import invert, solve
from .transform import Transform

# Error of the round trip, in voxels, above which a displacement cannot be undone by an inverse on the same grid.
_LARGEST_ERROR_VOXELS = 0.6
# Corrections of an inverse, and the share of the error that each removes. More would help round trips that start in the
# fixed image at the expense of those that start in the moving image.
_CORRECTIONS, _SHARE = 2, 0.8


def made_diffeomorphic(displacement: DisplacementField) -> DisplacementField:
    """Change a displacement field as little as needed to make it a diffeomorphism that has an inverse on the same grid.

    Its folds are removed, see `sacb_bundle.ops.unfolded`. Where the displacements of neighbouring voxels differ so much
    that the interpolated inverse does not undo them, they are replaced by the inverse of that inverse.

    Args:
        displacement: displacement field, finite.

    Returns:
        The displacement field, on the same grid and device.
    """
    grid = displacement.grid
    displacement = without_folds(displacement)
    inverse = _inverse(Transform(displacement=displacement), grid)
    errors = _round_trip_errors(Transform(displacement=displacement), inverse, grid)
    wrong = errors.norm(dim=0) > _LARGEST_ERROR_VOXELS * min(grid.spacing)
    places = grid.positions(slice(0, grid.shape[0]), wrong.device)[:, wrong].reshape(3, 1, 1, -1)
    vectors = displacement.vectors.clone()
    vectors[:, wrong] = (solve(Transform(displacement=inverse), places) - places).flatten(1)
    return without_folds(DisplacementField(vectors, grid))


def consistent_inverse(transform: Transform, grid: Grid) -> DisplacementField:
    """Invert a transform so that its displacement field and the inverse undo each other as well as their grids permit.

    The exact inverse at the voxels of a grid is wrong between them. Correcting it makes the errors of round trips that
    start in the fixed image smaller, and those that start in the moving image about as large. Then folds are removed.

    Args:
        transform: transform from the fixed to the moving image, with a field from `made_diffeomorphic`, if any.
        grid: grid of the result, usually that of the moving image.

    Returns:
        The displacement field from the moving image to the fixed one, on the CPU.
    """
    inverse = _inverse(transform, grid)
    if transform.displacement is None:
        return inverse
    places = transform.displacement.grid
    for _ in range(_CORRECTIONS):
        errors = DisplacementField(_round_trip_errors(transform, inverse, places), places)
        for planes in grid.slabs():
            vectors = inverse.vectors[:, planes]
            vectors -= _SHARE * errors.at(grid.positions(planes, vectors.device) + vectors)
    inverse = without_folds(inverse, 1 / float(np.linalg.det(transform.affine)))
    return DisplacementField(inverse.vectors.cpu(), grid)


def without_folds(displacement: DisplacementField, scale: float = 1.0) -> DisplacementField:
    """Remove the folds of a displacement field, see `sacb_bundle.ops.unfolded`.

    Args:
        displacement: displacement field, finite.
        scale: determinant on average of the transformation that it belongs to.

    Returns:
        The displacement field, on the same grid and device.

    Raises:
        InputError: if folds remain.
    """
    grid = displacement.grid
    return DisplacementField.from_voxels(unfolded(displacement.in_voxels_of(grid), scale), grid)


def _inverse(transform: Transform, grid: Grid) -> DisplacementField:
    """Return the exact inverse at the voxels of a grid, on the device of the transform."""
    return DisplacementField(invert(transform, grid).vectors.to(transform.device), grid)


def _round_trip_errors(transform: Transform, inverse: DisplacementField, grid: Grid) -> torch.Tensor:
    """Return the vectors from the voxels of a grid to where they end after a transform and its inverse.

    Args:
        transform: transform.
        inverse: its inverse, on a grid of its own.
        grid: grid of the voxels.

    Returns:
        Vectors (3, D, H, W), in mm; 0 where the transform ends beyond the centres of the voxels of the inverse.
    """
    to_index = torch.from_numpy(np.linalg.inv(inverse.grid.affine)).to(transform.device, torch.float32)
    errors = torch.empty((3, *grid.shape), device=transform.device)
    for planes, there in transform.on_slabs(grid):
        missed = there + inverse.at(there) - grid.positions(planes, transform.device)
        index = map_affinely(to_index, there)
        last = torch.tensor(inverse.grid.shape, device=index.device).reshape(3, 1, 1, 1) - 1
        # Beyond the centres of the outermost voxels, the inverse is extrapolated, and its error says nothing.
        errors[:, planes] = torch.where(((index >= 0) & (index <= last)).all(dim=0), missed, 0)
    return errors
