"""The last step of the flow estimator, at full resolution."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ..ops import conv3x3x3
from .conv_block import ConvBlock


class Refinement(nn.Module):
    """Predicts the remaining displacement from level-1 features by convolutions instead of matching.

    Args:
        channels: of the level-1 features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvBlock(channels, channels), ConvBlock(channels, channels))
        self.fusion = nn.Sequential(ConvBlock(2 * channels, channels), ConvBlock(channels, channels))
        self.displacement = Convolution(3, channels, 3, kernel_size=3, conv_only=True)

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Warped moving and fixed features (B, C, D, H, W) to a displacement field (B, 3, D, H, W) in voxels."""
        both = torch.cat([self.features(fixed), self.features(moving)], dim=1)
        weight, bias = self.displacement.parameters()
        return conv3x3x3(self.fusion(both), weight, bias).float()
