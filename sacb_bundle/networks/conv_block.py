"""The convolution that every part of the network is made of."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import conv_norm_leaky_relu


class ConvBlock(nn.Module):
    """3x3x3 convolution, instance normalisation without learned scale, leaky ReLU of slope 0.1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv3d(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Tensors (B, C_i, D, H, W) with in_channels channels in all to (B, out_channels, D, H, W)."""
        return conv_norm_leaky_relu(inputs, self.convolution.weight, self.convolution.bias)
