"""Smoothness of a displacement field."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import squared_differences


class SmoothnessLoss(nn.Module):
    """`squared_differences` as a module."""

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        """Return the mean squared difference of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels.

        Returns:
            Scalar, in squared voxels.
        """
        return squared_differences(field)
