"""Make a registration from a predicted displacement field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import Transform as MonaiTransform
from torch import nn

from ..checks import check_truth_values
from ..networks import hash_of_weights
from ..registration.refine import Refined
from ..registration.result import Registration
from ..spatial import check_label_interpolation


class ToRegistrationd(MonaiTransform):
    """Add "registration", a `sacb_bundle.registration.result.Registration` of "pair", "prepared" and "pred".

    "pred" is a displacement field (3, D, H, W) or a `sacb_bundle.registration.refine.Refined`.

    Args:
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        network: network that predicts the field; the record names its weights.
        diffeomorphic: whether to remove the folds of the transform, and write its inverse.
        keep_field: whether to keep a field that brings the images no closer, to score it.

    Raises:
        InputError: if an option is invalid.
    """

    def __init__(
        self,
        label_interpolation: str = "nearest",
        network: nn.Module | None = None,
        diffeomorphic: bool = False,
        keep_field: bool = False,
    ) -> None:
        check_label_interpolation(label_interpolation)
        check_truth_values(diffeomorphic=diffeomorphic, keep_field=keep_field)
        self.diffeomorphic = diffeomorphic
        self.keep_field = keep_field
        self.label_interpolation = label_interpolation
        self._network = network

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the registration."""
        pred = data["pred"]
        refined = pred if isinstance(pred, Refined) else Refined(pred.as_subclass(torch.Tensor).float())
        weights = "" if self._network is None else hash_of_weights(self._network)
        result = Registration(
            data["pair"],
            data["prepared"],
            refined.field,
            label_interpolation=self.label_interpolation,
            weights=weights,
            refined=refined,
            diffeomorphic=self.diffeomorphic,
            keep_field=self.keep_field,
        )
        return {**data, "registration": result}
