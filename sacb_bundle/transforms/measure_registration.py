"""Measure a registration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Transform as MonaiTransform


class MeasureRegistrationd(MonaiTransform):
    """Add "measures" of "registration", see `sacb_bundle.registration.result.Registration.measures`.

    Args:
        labels: label values to score; None for all of the fixed label map.
    """

    def __init__(self, labels: Sequence[int] | None = None) -> None:
        self.labels = labels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the measures."""
        return {**data, "measures": data["registration"].measures(labels=self.labels)}
