"""Feature pyramid of an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ..ops import halve
from .conv_block import ConvBlock


class Encoder(nn.Module):
    """Encoder with five levels of features; each level below the first halves the resolution by average pooling.

    Args:
        base_channels: number of base channels c.
        multiples: number of channels of levels 1 to 5, in multiples of c.
    """

    def __init__(self, base_channels: int, multiples: Sequence[int] = (2, 4, 8, 16, 16)) -> None:
        super().__init__()
        c = base_channels
        self.channels = {level: multiple * c for level, multiple in enumerate(multiples, start=1)}
        first = self.channels[1]
        first_level = nn.Sequential(ConvBlock(1, c), ConvBlock(c, first), ConvBlock(first, first))
        self.levels = nn.ModuleList([first_level])
        for level in (2, 3, 4, 5):
            above, here = self.channels[level - 1], self.channels[level]
            self.levels.append(nn.Sequential(ConvBlock(above, here), ConvBlock(here, here)))

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Return the features of levels 1 (full resolution) to 5 (one sixteenth).

        Args:
            image: image (B, 1, D, H, W), every size divisible by 16.

        Returns:
            Five tensors; level l is (B, channels[l], D / 2^(l-1), H / 2^(l-1), W / 2^(l-1)).
        """
        features: list[torch.Tensor] = []
        for level in self.levels:
            image = level(halve(features[-1]) if features else image)
            features.append(image)
        return features
