"""Make a registration from a predicted displacement field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform as MonaiTransform

from ..files import file_hash
from ..registration.result import Registration
from ..spatial import check_label_interpolation


class ToRegistrationd(MonaiTransform):
    """Add "registration", a `sacb_bundle.registration.result.Registration` of "pair", "prepared" and the field "pred".

    Args:
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        checkpoint: file of the network's weights, whose SHA-256 goes into the record; "" to leave it out.

    Raises:
        InputError: if the interpolation is invalid.
    """

    def __init__(self, label_interpolation: str = "nearest", checkpoint: str | Path = "") -> None:
        check_label_interpolation(label_interpolation)
        self.label_interpolation = label_interpolation
        self._checkpoint = checkpoint  # not a setting of its own: results depend on its content

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the registration."""
        field = data["pred"].as_subclass(torch.Tensor).float()
        weights = file_hash(self._checkpoint) if self._checkpoint else ""
        options = {"label_interpolation": self.label_interpolation, "weights": weights}
        return {**data, "registration": Registration(data["pair"], data["prepared"], field, **options)}
