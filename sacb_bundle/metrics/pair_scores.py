"""All scores of a registered pair of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from .arrays import Array, as_label_map
from .folding import folding_percentage, non_diffeomorphic_volume, sd_log_jacobian
from .overlap import dice
from .surface import surface_distances


@dataclass(frozen=True)
class LabelScores:
    """Agreement of a label of the fixed image with the moving image (before) and with the warped image (after).

    Distances are in mm. If the label vanished in the warp, there is no surface to measure to: the distances after are
    None, and Dice after is 0.
    """

    label: int
    dice_before: float
    dice_after: float
    hd95_before: float
    hd95_after: float | None
    assd_before: float
    assd_after: float | None


LABEL_SCORES = [field.name for field in fields(LabelScores) if field.name != "label"]


@dataclass(frozen=True)
class LabelMapScores:
    """Agreement of the labels of a pair."""

    labels: tuple[LabelScores, ...]
    """One row per scored label, in ascending order of the labels."""
    left_out: tuple[int, ...]
    """Labels missing from the fixed or the moving image; they have no row."""
    vanished: tuple[int, ...]
    """Scored labels missing from the warped image; Dice after is 0, the distances after are None."""


@dataclass(frozen=True)
class PairScores(LabelMapScores):
    """Scores of a registered pair; see `sacb_bundle.metrics.folding` for those of the field."""

    folding_percent: float
    ndv_percent: float
    sd_log_jacobian: float
    similarity_before: float | None = None
    """Similarity of the images before and after; None if they were not compared."""
    similarity_after: float | None = None


def score_pair(
    fixed: Array,
    moving: Array,
    warped: Array,
    field: Array,
    labels: Iterable[int],
    spacing: Sequence[float],
) -> PairScores:
    """Score the labels of a pair before and after registration, and its displacement field.

    Args:
        fixed: label map (D, H, W) of the fixed image.
        moving: label map (D, H, W) of the moving image.
        warped: label map (D, H, W) of the moving image, warped with `field`.
        field: displacement field (3, D, H, W) in voxels, components along D, H and W.
        labels: label values to score; any integers.
        spacing: voxel size along D, H and W, in mm.

    Returns:
        Scores of each label and of the field.

    Raises:
        ValueError: if the label maps, the field or the spacing are malformed, see `score_labels` and
            `jacobian_determinant`, or the field is on another grid.
    """
    if tuple(field.shape[1:]) != tuple(fixed.shape):
        raise ValueError(f"field {tuple(field.shape)} is not on the grid of the labels {tuple(fixed.shape)}")
    scores = score_labels(fixed, moving, warped, labels, spacing)
    return PairScores(
        **vars(scores),
        folding_percent=folding_percentage(field),
        ndv_percent=non_diffeomorphic_volume(field),
        sd_log_jacobian=sd_log_jacobian(field),
    )


def score_labels(
    fixed: Array, moving: Array, warped: Array, labels: Iterable[int], spacing: Sequence[float]
) -> LabelMapScores:
    """Score the labels of a pair before and after registration.

    A label is scored if both the fixed and the moving image have it; otherwise, it is listed in `left_out`. A label
    missing only from the warped image was lost in the warp, so it counts with a Dice of 0.

    Args:
        fixed: label map (D, H, W) of the fixed image.
        moving: label map (D, H, W) of the moving image.
        warped: warped label map (D, H, W) of the moving image.
        labels: label values to score; any integers.
        spacing: voxel size along D, H and W, in mm.

    Returns:
        Scores of each label.

    Raises:
        ValueError: if the label maps or the spacing are malformed, see `dice` and `surface_distances`.

    Example:
        >>> import numpy as np
        >>> fixed, moving = np.array([[[1, 1, 2, 0]]]), np.array([[[1, 0, 0, 2]]])
        >>> scores = score_labels(fixed, moving, warped=fixed, labels=(1, 2, 3), spacing=(1, 1, 1))
        >>> [(row.label, round(row.dice_before, 2), row.dice_after) for row in scores.labels], scores.left_out
        ([(1, 0.67, 1.0), (2, 0.0, 1.0)], (3,))
    """
    requested = sorted(set(labels))
    fixed, moving, warped = (as_label_map(label_map) for label_map in (fixed, moving, warped))

    dice_before = dice(fixed, moving, requested)
    dice_after = dice(fixed, warped, dice_before)
    surface_before = surface_distances(fixed, moving, dice_before, spacing)
    surface_after = surface_distances(fixed, warped, dice_before, spacing)

    rows = []
    for label in dice_before:
        hd95_before, assd_before = surface_before[label]
        hd95_after, assd_after = surface_after.get(label, (None, None))
        rows.append(
            LabelScores(
                label=label,
                dice_before=dice_before[label],
                dice_after=dice_after.get(label, 0.0),
                hd95_before=hd95_before,
                hd95_after=hd95_after,
                assd_before=assd_before,
                assd_after=assd_after,
            )
        )
    return LabelMapScores(
        labels=tuple(rows),
        left_out=tuple(label for label in requested if label not in dice_before),
        vanished=tuple(label for label in dice_before if label not in dice_after),
    )
