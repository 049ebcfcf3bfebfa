"""Make a registration from a predicted displacement field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform as MonaiTransform

from ..registration.result import Registration
from ..spatial import check_label_interpolation


class ToRegistrationd(MonaiTransform):
    """Add "registration", a `sacb_bundle.registration.result.Registration` of "pair", "prepared" and the field "pred".

    Args:
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        weights: SHA-256 of the network's weights, for the record.

    Raises:
        InputError: if the interpolation is invalid.
    """

    def __init__(self, label_interpolation: str = "nearest", weights: str = "") -> None:
        check_label_interpolation(label_interpolation)
        self.label_interpolation = label_interpolation
        self.weights = weights

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the registration."""
        field = data["pred"].as_subclass(torch.Tensor).float()
        options = {"label_interpolation": self.label_interpolation, "weights": self.weights}
        return {**data, "registration": Registration(data["pair"], data["prepared"], field, **options)}
