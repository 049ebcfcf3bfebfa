"""Convolution block from which every part of the network is built."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import conv_norm_leaky_relu


class ConvBlock(nn.Module):
    """3x3x3 convolution, instance normalisation without learned scale, and leaky ReLU with slope 0.1.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Apply the block.

        Args:
            inputs: tensors (B, C_i, D, H, W) that are concatenated along the channels, in_channels in total.

        Returns:
            Features (B, out_channels, D, H, W).
        """
        return conv_norm_leaky_relu(inputs, self.convolution.weight, self.convolution.bias)
