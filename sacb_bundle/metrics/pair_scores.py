"""All scores of one registered pair of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from .arrays import Array, as_label_map
from .folding import folding_percentage, non_diffeomorphic_volume, sd_log_jacobian
from .overlap import dice
from .surface import surface_distances


@dataclass(frozen=True)
class LabelScores:
    """Agreement of one label of the fixed image with the moving (before) and the warped one (after).

    The distances are in mm. After the warp they are None where the label vanished, since there is no surface to
    measure to; the Dice coefficient is then 0.
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
    """One row per scored label, in ascending order."""
    left_out: tuple[int, ...]
    """Labels missing from the fixed or from the moving image: they have no row."""
    vanished: tuple[int, ...]
    """Scored labels that the warped image lost: Dice after is 0, the distances after are None."""


@dataclass(frozen=True)
class PairScores(LabelMapScores):
    """Scores of one registered pair; the field's measures are those of :mod:`sacb_bundle.metrics.folding`."""

    folding_percent: float
    ndv_percent: float
    sd_log_jacobian: float


def score_pair(
    fixed: Array,
    moving: Array,
    warped: Array,
    field: Array,
    labels: Iterable[int],
    spacing: Sequence[float],
) -> PairScores:
    """Score the registration of one pair, before and after, by its labels and its displacement field.

    Args:
        fixed: label map (D, H, W) of the fixed image.
        moving: label map (D, H, W) of the moving image.
        warped: label map (D, H, W) of the moving image after the warp with ``field``.
        field: displacement field (3, D, H, W) in voxels, components in the order of the axes.
        labels: label values to score; any integers.
        spacing: voxel size along (D, H, W), in mm.

    Raises:
        ValueError: if the label maps, the field or the spacing are malformed, see :func:`score_labels` and
            :func:`jacobian_determinant`, or the field is on another grid.
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
    """Score the labels of one pair, before and after.

    A label counts if both the fixed and the moving image hold it. One that is missing from either is left out
    and listed; one that only the warped image lacks was lost in the warp, so it stays in with a Dice of 0.

    Args:
        fixed: label map (D, H, W) of the fixed image.
        moving: label map (D, H, W) of the moving image.
        warped: label map (D, H, W) of the moving image after the warp.
        labels: label values to score; any integers.
        spacing: voxel size along (D, H, W), in mm.

    Raises:
        ValueError: if the label maps or the spacing are malformed, see :func:`dice` and :func:`surface_distances`.
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
