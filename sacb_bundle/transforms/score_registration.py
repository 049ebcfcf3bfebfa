"""Score a registration by the label maps and the displacement field of a pair."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Transform as MonaiTransform

from ..errors import InputError
from ..metrics import LabelMapScores, PairScores, folding_percentage, non_diffeomorphic_volume, sd_log_jacobian
from ..quality import similarity


class ScoreRegistrationd(MonaiTransform):
    """Add "scores" of "registration", a `sacb_bundle.metrics.PairScores`.

    Label maps are scored on the fixed image's grid, the images and the displacement field on the working grid.

    Args:
        labels: label values to score; None for all of the fixed label map.
        needs_labels: whether a pair must have both label maps.
    """

    def __init__(self, labels: Sequence[int] | None = None, needs_labels: bool = True) -> None:
        self.labels = labels
        self.needs_labels = needs_labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the scores.

        Raises:
            InputError: if a label map that is needed is missing.
        """
        result = data["registration"]
        scores = result.label_scores(labels=self.labels)
        if scores is None and self.needs_labels:
            raise InputError("scoring needs both label maps")
        scores = scores or LabelMapScores((), (), ())
        moving, fixed = result.prepared.tensors(result.field.device)
        alike = similarity(moving, result.warped_on_working_grid, fixed)
        pair_scores = PairScores(
            **vars(scores),
            folding_percent=folding_percentage(result.field),
            ndv_percent=non_diffeomorphic_volume(result.field),
            sd_log_jacobian=sd_log_jacobian(result.field),
            similarity_before=alike["similarity_before"],
            similarity_after=alike["similarity_after"],
        )
        return {**data, "scores": pair_scores}
