"""Measure images and displacement fields on the working grid."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ..intensities import in_hounsfield_units
from ..metrics import folding_percentage
from ..ops import local_ncc
from ..spatial import (
    DisplacementField,
    Grid,
    Transform,
    Volume,
    body_of,
    foreground,
    inverse_error,
    round_trip_error,
)

# Scaled intensity above which a voxel is foreground.
FOREGROUND = 0.05
# Error of the inverse, in voxels of the working grid, above which a point counts as not inverted.
LARGEST_INVERSE_ERROR_VOXELS = 0.5
LATTICE_STEPS = 16
# Number of places that tell how much of an image is in view.
NUM_PLACES = 5000
# Percentile that counts as the largest distance of these places, so that noise does not.
FARTHEST_PERCENTILE = 99.5
# Ratio of the largest to the smallest scale of an alignment above which lost voxel sizes explain it.
LARGEST_STRETCH = 1.6
# Distance, in voxels, between the points where the similarity is sampled.
SIMILARITY_STEP_VOXELS = 2


def similarity(moving: torch.Tensor, warped: torch.Tensor, fixed: torch.Tensor) -> dict[str, float]:
    """Measure the similarity to the fixed image, before and after registration.

    Args:
        moving: aligned moving image (1, D, H, W) in [0, 1].
        warped: moving image after the displacement field, likewise.
        fixed: fixed image, likewise.

    Returns:
        similarity_before and similarity_after: local normalised cross-correlation (window 9), mean over every second
        voxel of the fixed image's foreground; 0 if it has none.
    """
    step = SIMILARITY_STEP_VOXELS
    shown = (fixed > FOREGROUND)[None, :, ::step, ::step, ::step]
    if not shown.any():
        return {"similarity_before": 0.0, "similarity_after": 0.0}
    with torch.no_grad():
        return {
            f"similarity_{when}": float(local_ncc(image[None], fixed[None], step=step)[shown].mean())
            for when, image in (("before", moving), ("after", warped))
        }


def displacement(transform: Transform, field: torch.Tensor) -> dict[str, float]:
    """Measure a displacement field.

    Args:
        transform: transform that holds the field in mm.
        field: the same field (3, D, H, W), in voxels.

    Returns:
        - spacing of the grid, in mm;
        - folding_percent: folded voxels, see `sacb_bundle.metrics`;
        - displacement_mean_mm, displacement_max_mm, and displacement_border_mm, the largest on the faces of the grid;
        - inverse_failed_percent: percentage of 16 x 16 x 16 points whose round-trip error, after transform and inverse,
          exceeds half a voxel.

    Raises:
        ValueError: if the transform has no displacement field.
    """
    if transform.displacement is None:
        raise ValueError("the transform holds no displacement field")
    grid = transform.displacement.grid
    lengths = transform.displacement.vectors.square().sum(dim=0).sqrt()  # `norm` is ten times as slow
    border = max(float(lengths.select(axis, place).max()) for axis in range(3) for place in (0, -1))
    error = round_trip_error(transform, grid.lattice(LATTICE_STEPS))
    return {
        "spacing": float(grid.spacing[0]),
        "folding_percent": folding_percentage(field),
        "displacement_mean_mm": float(lengths.mean()),
        "displacement_max_mm": float(lengths.max()),
        "displacement_border_mm": border,
        "inverse_failed_percent": 100 * float((~(error <= LARGEST_INVERSE_ERROR_VOXELS * min(grid.spacing))).mean()),
    }


def round_trip(transform: Transform, inverse: DisplacementField | None, fixed: torch.Tensor) -> dict[str, float | None]:
    """Measure the error of the inverse of a diffeomorphic transform.

    Args:
        transform: transform that holds a displacement field.
        inverse: displacement field from the moving to the fixed image; None if the transform is not diffeomorphic.
        fixed: fixed image (1, D, H, W) in [0, 1], on the grid of the displacement field of the transform.

    Returns:
        inverse_error_mean_voxels and inverse_error_p99_voxels (99th percentile): round-trip error, at the centres of
        the voxels and halfway between them, of the fixed image's foreground that the transform maps into the moving
        image, in voxels of the grid; None if there are none, or no inverse.
    """
    errors = np.empty(0)
    if inverse is not None and transform.displacement is not None:
        grid = transform.displacement.grid
        shown = fixed[0].cpu().numpy() > FOREGROUND
        half = np.eye(4)
        half[:3, 3] = 0.5
        halfway = Grid(grid.shape, grid.affine @ half)
        errors = np.concatenate([inverse_error(transform, inverse, places).error[shown] for places in (grid, halfway)])
        errors = errors[errors >= 0] / min(grid.spacing)
    return {
        "inverse_error_mean_voxels": float(errors.mean(dtype=np.float64)) if errors.size else None,
        "inverse_error_p99_voxels": float(np.percentile(errors, 99)) if errors.size else None,
    }


def in_view(fixed: Volume, moving: Volume, initial: np.ndarray) -> dict[str, float]:
    """Measure how much of what one image shows lies in the field of view of the other, and how far it reaches beyond.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        initial: 4x4 matrix of the alignment, from fixed to moving world coordinates in mm, RAS.

    Returns:
        - fixed_in_view_percent: share of the foreground of the fixed image that the alignment maps into the moving
          image;
        - fixed_beyond_percent: largest distance from it to the moving image, in percent of the size of the moving body;
        - moving_in_view_percent and moving_beyond_percent: the same from the moving to the fixed image.
    """
    ways = {"fixed": (fixed, moving, initial), "moving": (moving, fixed, np.linalg.inv(initial))}
    measures = {}
    for role, (image, other, matrix) in ways.items():
        indices = np.argwhere(foreground(image).values)
        places = image.grid.to_world(indices[:: max(1, len(indices) // NUM_PLACES)])
        distances = other.grid.distance_to(Transform(matrix).map_points(places))
        farthest = float(np.percentile(distances, FARTHEST_PERCENTILE)) if len(distances) else 0.0
        measures[f"{role}_in_view_percent"] = 100 * float((distances == 0).mean()) if len(distances) else 0.0
        measures[f"{role}_beyond_percent"] = 100 * farthest / body_of(other).size
    return measures


def lost_headers(grids: Mapping[str, Grid], modalities: Mapping[str, str], initial: np.ndarray) -> dict[str, bool]:
    """Tell whether headers lost the position and the voxel sizes.

    Voxels of 1 mm along the axes of the world are what programs assume where a header says nothing. Preprocessed brains
    truly have them; a CT has not, nor does an image that the alignment stretches much in one direction.

    Args:
        grids: grids of the "fixed" and the "moving" image.
        modalities: modality of each.
        initial: 4x4 matrix of the alignment, from fixed to moving world coordinates in mm, RAS.

    Returns:
        fixed_header_lost and moving_header_lost.
    """
    scales = np.linalg.svd(initial[:3, :3])[1]
    stretched = bool(scales[0] > LARGEST_STRETCH * scales[2])
    return {
        f"{role}_header_lost": _is_assumed(grid) and (stretched or in_hounsfield_units(modalities[role]))
        for role, grid in grids.items()
    }


def _is_assumed(grid: Grid) -> bool:
    """Tell whether a grid has voxels of 1 mm along the axes of the world, and its first voxel or its middle at 0."""
    if not np.allclose(np.abs(grid.affine[:3, :3]), np.eye(3)):
        return False
    return any(np.allclose(place, 0) for place in (grid.affine[:3, 3], grid.corners.mean(axis=0)))
