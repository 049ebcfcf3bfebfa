"""The convolution that every part of the network is made of."""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import nn

from ..ops import conv3x3x3, instance_norm_leaky_relu


class ConvBlock(nn.Module):
    """3x3x3 convolution, instance normalisation without learned scale, leaky ReLU of slope 0.1.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = Convolution(3, in_channels, out_channels, kernel_size=3, conv_only=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, in_channels, D, H, W) to (B, out_channels, D, H, W)."""
        weight, bias = self.convolution.parameters()
        return instance_norm_leaky_relu(conv3x3x3(x, weight, bias))
