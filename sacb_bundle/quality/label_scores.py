"""Score label maps before and after registration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from ..errors import InputError
from ..metrics import LABEL_SCORES, LabelMapScores, score_labels
from ..spatial import Grid, Transform, Volume, canonical, resample

LARGEST_NUMBER_OF_LABELS = 1000


def score_label_maps(
    fixed: Volume,
    before: Volume,
    after: Volume,
    labels: Sequence[int] | None = None,
    masks: tuple[Volume | None, Volume | None] = (None, None),
    transforms: Sequence[Transform] = (),
) -> LabelMapScores:
    """Score the agreement of label maps before and after registration, on the fixed image's grid.

    Args:
        fixed: label map of the fixed image.
        before: moving label map after the alignment alone, on the same grid.
        after: warped moving label map, on the same grid.
        labels: label values to score; None for all of the fixed label map.
        masks: masks of the fixed and the moving image, each on its image's grid; None for an image without one.
        transforms: transforms from fixed to moving world coordinates in mm, RAS, that warped the moving label map.
            Voxels outside the fixed mask, and those that a transform maps out of the moving mask, do not count.

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
    for shown in _shown_by(masks, fixed.grid, transforms):
        fixed, before, after = (Volume(each.values * shown, each.grid) for each in (fixed, before, after))
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


def _shown_by(
    masks: tuple[Volume | None, Volume | None], grid: Grid, transforms: Sequence[Transform]
) -> Iterator[np.ndarray]:
    """Yield where each mask shows something on the fixed image's grid, bool; the moving mask after each transform."""
    fixed, moving = masks
    if fixed is not None:
        yield fixed.values != 0
    if moving is not None:
        for transform in transforms:
            yield resample(transform, grid, labels=[moving]).labels[0].values > 0


def summary_of_labels(scores: LabelMapScores) -> dict[str, Any]:
    """Summarise label scores, in types that JSON can hold.

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
