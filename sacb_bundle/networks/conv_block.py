"""Convolutions from which the networks are built."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import conv3d, conv_norm_leaky_relu


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


class Convolution(nn.Conv3d):
    """Zero-padded 3x3x3 convolution with bias.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve features.

        Args:
            x: features (B, in_channels, D, H, W).

        Returns:
            Features (B, out_channels, D, H, W).
        """
        return conv3d(x, self.weight, self.bias)


def start_near_zero(convolution: nn.Conv3d) -> nn.Conv3d:
    """Initialise a convolution that predicts a displacement field, so that training starts near the identity.

    Args:
        convolution: convolution with bias; its weights are drawn from N(0, 1e-5²), and its bias is set to 0.

    Returns:
        The same convolution.
    """
    nn.init.normal_(convolution.weight, std=1e-5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
