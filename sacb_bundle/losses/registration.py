"""The training loss: dissimilarity of the warped and the fixed image, and irregularity of the field."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import warp


class RegistrationLoss(nn.Module):
    """Image dissimilarity of warped and fixed image plus the weighted regulariser of the field.

    Args:
        similarity: module from (warped, fixed) to a scalar that is lower where the images agree better.
        regulariser: module from a displacement field (B, 3, D, H, W) in voxels to a scalar.
        regulariser_weight: lambda. The paper trains with 0.3 to 0.5 on abdomen CT, 1 on LPBA40 and 3 on IXI.
    """

    def __init__(self, similarity: nn.Module, regulariser: nn.Module, regulariser_weight: float) -> None:
        super().__init__()
        self.similarity = similarity
        self.regulariser = regulariser
        self.regulariser_weight = regulariser_weight

    def forward(self, field: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Loss of a prediction; the registered pair itself is the target.

        Args:
            field: predicted displacement field (B, 3, D, H, W), in voxels.
            image: (B, 2, D, H, W), channel 0 moving and channel 1 fixed.

        Returns:
            scalar.
        """
        moving, fixed = image.split(1, dim=1)
        return self.similarity(warp(moving, field), fixed) + self.regulariser_weight * self.regulariser(field)
