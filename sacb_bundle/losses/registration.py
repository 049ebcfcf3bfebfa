"""The training loss: how well the field explains the fixed image, and how smooth it is."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import warp
from .smoothness import SmoothnessLoss


class RegistrationLoss(nn.Module):
    """Image dissimilarity of warped and fixed image plus the weighted smoothness of the field.

    Args:
        similarity: module from (warped, fixed) to a scalar that is lower where the images agree better.
        smoothness_weight: lambda. The paper trains with 0.3 to 0.5 on abdomen CT, 1 on LPBA40 and 3 on IXI.
    """

    def __init__(self, similarity: nn.Module, smoothness_weight: float) -> None:
        super().__init__()
        self.similarity = similarity
        self.smoothness_weight = smoothness_weight
        self.smoothness = SmoothnessLoss()

    def forward(self, field: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Loss of a prediction; the registered pair itself is the target.

        Args:
            field: predicted displacement field (B, 3, D, H, W), in voxels.
            image: (B, 2, D, H, W), channel 0 moving and channel 1 fixed.

        Returns:
            scalar.
        """
        moving, fixed = image.split(1, dim=1)
        return self.similarity(warp(moving, field), fixed) + self.smoothness_weight * self.smoothness(field)
