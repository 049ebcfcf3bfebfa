"""Measure the quality of a registration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import InputError
from ..metrics import LABEL_SCORES, LabelMapScores, folding_percentage, score_labels
from ..ops import local_ncc
from ..spatial import Transform, Volume, canonical, round_trip_error
from .prepare import motion
from .trust import FOREGROUND, evidence_of

if TYPE_CHECKING:
    from .result import Registration

# Error of the inverse, in voxels of the working grid, above which a point counts as not inverted.
LARGEST_INVERSE_ERROR_VOXELS = 0.5
LATTICE_STEPS = 16
LARGEST_NUMBER_OF_LABELS = 1000
# Distance, in voxels, between the points where the similarity is sampled.
SIMILARITY_STEP_VOXELS = 2


def measures_of_images(result: Registration) -> dict[str, Any]:
    """Measure a registration by its images and its displacement field, on the working grid.

    Args:
        result: registration to measure.

    Returns:
        - similarity_before, similarity_after: local normalised cross-correlation (window 9), mean over every second
          voxel of the fixed image's foreground, after the alignment alone and with the displacement field;
        - folding_percent: folded voxels of the displacement field, see `sacb_bundle.metrics`;
        - displacement_mean_mm, displacement_max_mm, and displacement_border_mm, the largest on the faces of the grid;
        - inverse_failed_percent: share of 16 x 16 x 16 points that end more than half a voxel from themselves after
          transform and inverse;
        - alignment_shift_mm, alignment_turn_degrees, alignment_scale;
        - the evidence that the images agree, see `sacb_bundle.registration.trust.evidence_of`;
        - alignment_alone: whether the field was replaced by zeros, since it brought the images no closer;
        - fixed_modality, moving_modality: "mr", "ct" or another;
        - fixed_deciles, moving_deciles: deciles of the scaled foreground intensities;
        - fixed_spacing, moving_spacing: spacing of the images, in mm; spacing: that of the working grid.
    """
    prepared, pair = result.prepared, result.pair
    moving, fixed = torch.from_numpy(prepared.images).to(result.field.device).split(1)
    return {
        **similarity(moving, result.warped_on_working_grid, fixed),
        **displacement(result.transform, result.field),
        **evidence_of(prepared),
        "alignment_alone": result.alignment_alone,
        **{f"alignment_{name}": value for name, value in motion(prepared.initial, prepared.grid).items()},
        **{f"{role}_modality": prepared.appearances[role].modality for role in ("moving", "fixed")},
        **{f"{role}_deciles": deciles(image) for role, image in zip(("moving", "fixed"), prepared.images, strict=True)},
        "moving_spacing": list(pair.moving.grid.spacing),
        "fixed_spacing": list(pair.fixed.grid.spacing),
    }


def similarity(moving: torch.Tensor, warped: torch.Tensor, fixed: torch.Tensor) -> dict[str, float]:
    """Measure the similarity to the fixed image, before and after registration.

    Args:
        moving: aligned moving image (1, D, H, W) in [0, 1].
        warped: moving image after the displacement field, likewise.
        fixed: fixed image, likewise.

    Returns:
        similarity_before and similarity_after, see `measures_of_images`; 0 if the fixed image has no foreground.
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
        The spacing, the folding, the displacements and the share of points without an inverse, see
        `measures_of_images`.

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


def deciles(image: np.ndarray) -> list[float]:
    """Compute the nine deciles of the intensities of the foreground.

    Args:
        image: image in [0, 1], of any shape.

    Returns:
        The deciles, rounded to four digits; empty if there is no foreground.
    """
    values = image[image > FOREGROUND]
    return [round(float(value), 4) for value in np.quantile(values, np.arange(1, 10) / 10)] if values.size else []


def score_label_maps(
    fixed: Volume, before: Volume, after: Volume, labels: Sequence[int] | None = None
) -> LabelMapScores:
    """Score the agreement of label maps before and after registration, on the fixed image's grid.

    Args:
        fixed: label map of the fixed image.
        before: moving label map after the alignment alone, on the same grid.
        after: warped moving label map, on the same grid.
        labels: label values to score; None for all of the fixed label map.

    Returns:
        The scores of each label.

    Raises:
        InputError: if there are more than 1000 labels to score.
    """
    if labels is not None and not (
        isinstance(labels, (list, tuple, np.ndarray))
        and all(isinstance(v, (int, np.integer)) and v > 0 for v in labels)
    ):
        raise InputError(f"labels is {labels!r}; it must be a list of label values, whole numbers above 0.")
    values = (
        list(labels)
        if labels is not None and len(labels)
        else [int(value) for value in np.unique(fixed.values) if value]
    )
    if len(values) > LARGEST_NUMBER_OF_LABELS:
        raise InputError(f"The fixed labels hold {len(values)} different values; is it a label map?")
    # Use one order of the axes, so that scores do not depend on the orientation of the file.
    fixed, before, after = map(canonical, (fixed, before, after))
    return score_labels(fixed.values, before.values, after.values, values, fixed.grid.spacing)


def summary_of_labels(scores: LabelMapScores) -> dict[str, Any]:
    """Sum label scores up, in types that JSON can hold.

    Args:
        scores: scores of each label.

    Returns:
        - dice_before, dice_after, hd95_before, hd95_after, assd_before, assd_after (mm): mean over the labels in both
          label maps, None if there are none;
        - labels: the same for each label; left_out and vanished: see `sacb_bundle.metrics.LabelMapScores`.
    """
    rows = [asdict(row) for row in scores.labels]
    means = {}
    for name in LABEL_SCORES:
        # Average before and after over the same labels; a label that vanished has no distance after.
        measured = [row for row in rows if name.startswith("dice") or row["hd95_after"] is not None]
        means[name] = fmean(row[name] for row in measured) if measured else None
    return {**means, "labels": rows, "left_out": list(scores.left_out), "vanished": list(scores.vanished)}
