"""Refinement of the displacement field at full resolution."""

from __future__ import annotations

import torch
from torch import nn

from .conv_block import ConvBlock, Convolution


class Refinement(nn.Module):
    """Estimates the remaining displacement from level-1 features by convolutions instead of matching.

    Args:
        channels: number of channels of the level-1 features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels))
        self.fusion = nn.Sequential(ConvBlock(2 * channels, channels), ConvBlock(channels, channels))
        self.displacement = Convolution(channels, 3)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Estimate the remaining displacement.

        Args:
            moving: warped moving features (B, C, D, H, W).
            fixed: fixed features (B, C, D, H, W).

        Returns:
            Displacement field (B, 3, D, H, W) fp32, in voxels.
        """
        first, second = self.fusion
        fused = second(first(self.features(fixed), self.features(moving)))
        return self.displacement(fused).float()
