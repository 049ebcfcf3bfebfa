"""U-Net that LKU-Net and Fourier-Net share."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import nn

from ..conv_block import Convolution


class UNet(nn.Module):
    """U-Net with strided convolutions on the way down, transposed ones on the way up, and PReLUs.

    Args:
        base_channels: number of base channels c; levels 1 to 5 of the encoder have c, 2c, 4c, 8c and 8c channels.
        second_block: function from a number of channels to the second block of levels 2 to 5 of the encoder.
        finest: level at which the decoder ends, from 4 to 1 (full resolution).

    Attributes:
        out_channels: number of channels of the result.
    """

    def __init__(self, base_channels: int, second_block: Callable[[int], nn.Module], finest: int) -> None:
        super().__init__()
        channels = [base_channels * multiple for multiple in (1, 2, 4, 8, 8)]
        self.encoder = nn.ModuleList([nn.Sequential(conv_prelu(2, channels[0]), conv_prelu(channels[0], channels[0]))])
        for above, here in pairwise(channels):
            downsample = nn.Sequential(nn.Conv3d(above, here, kernel_size=3, stride=2, padding=1), nn.PReLU())
            self.encoder.append(nn.Sequential(downsample, second_block(here)))
        self.upsampling, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level in range(4, finest - 1, -1):
            here, above = channels[level - 1], channels[max(level - 2, 0)]
            self.upsampling.append(nn.ConvTranspose3d(here, here, kernel_size=2, stride=2))
            self.decoder.append(nn.Sequential(conv_prelu(2 * here, here), conv_prelu(here, above)))
        self.out_channels = above

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features at the finest level of the decoder.

        Args:
            image: pairs (B, 2, D, H, W), every size divisible by 16.

        Returns:
            Features (B, out_channels, D / 2^(finest-1), H / 2^(finest-1), W / 2^(finest-1)).
        """
        levels: list[torch.Tensor] = []
        for block in self.encoder:
            image = block(image)
            levels.append(image)
        features = levels.pop()
        for upsample, block in zip(self.upsampling, self.decoder, strict=True):
            features = block(torch.cat([upsample(features), levels.pop()], dim=1))
        return features


def conv_prelu(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return a 3x3x3 convolution followed by a PReLU.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.

    Returns:
        The two layers.
    """
    return nn.Sequential(Convolution(in_channels, out_channels), nn.PReLU())
