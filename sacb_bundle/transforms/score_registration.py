"""Score a registration by the label maps and the displacement field of a pair."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Transform as MonaiTransform

from ..errors import InputError
from ..metrics import PairScores, folding_percentage, non_diffeomorphic_volume, sd_log_jacobian


class ScoreRegistrationd(MonaiTransform):
    """Add "scores" of "registration", a `sacb_bundle.metrics.PairScores`.

    Label maps are scored on the fixed image's grid, the displacement field on the working grid.

    Args:
        labels: label values to score; None for all of the fixed label map.
    """

    def __init__(self, labels: Sequence[int] | None = None) -> None:
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the scores.

        Raises:
            InputError: if a label map is missing.
        """
        result = data["registration"]
        scores = result.label_scores(labels=self.labels)
        if scores is None:
            raise InputError("scoring needs both label maps")
        pair_scores = PairScores(
            **vars(scores),
            folding_percent=folding_percentage(result.field),
            ndv_percent=non_diffeomorphic_volume(result.field),
            sd_log_jacobian=sd_log_jacobian(result.field),
        )
        return {**data, "scores": pair_scores}
