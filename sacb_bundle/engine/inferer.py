"""Inference on images of any size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from monai.inferers import SimpleInferer

from ..networks.sacb_net import SIZE_DIVISOR


class RegistrationInferer(SimpleInferer):
    """Pads a pair with zeros on all sides to sizes the network takes, and cuts the field back to the pair's grid."""

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Pair (B, 2, D, H, W) to displacement field (B, 3, D, H, W), in voxels."""
        shape = inputs.shape[2:]
        margins = [(-size % SIZE_DIVISOR) for size in shape]
        starts = [margin // 2 for margin in margins]
        padding = [
            amount
            for margin, start in zip(reversed(margins), reversed(starts), strict=True)
            for amount in (start, margin - start)
        ]
        field = network(F.pad(inputs, padding), *args, **kwargs)
        for axis, (start, size) in enumerate(zip(starts, shape, strict=True), start=2):
            field = field.narrow(axis, start, size)
        return field
