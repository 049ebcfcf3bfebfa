"""LapIRN: three equal networks, one for each level of an image pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...ops import halve, upsample_field, warp
from ..checks import check_pair, check_whole
from ..conv_block import Convolution, start_near_zero

NUM_LEVELS, NUM_RESIDUAL_BLOCKS = 3, 5
NEGATIVE_SLOPE = 0.2
# The largest displacement of a level, in sizes of the grid: 0.4 of half the size.
LARGEST_DISPLACEMENT = 0.2


class ResidualBlock(nn.Module):
    """Two convolutions, each after a leaky ReLU, whose result is added to the input.

    Args:
        channels: number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LeakyReLU(NEGATIVE_SLOPE),
            Convolution(channels, channels),
            nn.LeakyReLU(NEGATIVE_SLOPE),
            Convolution(channels, channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block.

        Args:
            x: features (B, C, D, H, W).

        Returns:
            Features (B, C, D, H, W).
        """
        return x + self.layers(x)


class LevelNetwork(nn.Module):
    """Network of one level: encoder, residual blocks at half the resolution, and decoder.

    Args:
        in_channels: number of input channels.
        channels: number of channels C of all features.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            Convolution(in_channels, channels), nn.LeakyReLU(NEGATIVE_SLOPE), Convolution(channels, channels)
        )
        self.downsampling = nn.Sequential(
            nn.LeakyReLU(NEGATIVE_SLOPE), nn.Conv3d(channels, channels, kernel_size=3, stride=2, padding=1)
        )
        self.residual = nn.Sequential(*(ResidualBlock(channels) for _ in range(NUM_RESIDUAL_BLOCKS)))
        self.upsampling = nn.ConvTranspose3d(channels, channels, kernel_size=2, stride=2)
        self.decoder = nn.Sequential(Convolution(2 * channels, channels), nn.LeakyReLU(NEGATIVE_SLOPE))
        self.displacement = start_near_zero(Convolution(channels, 3))

    def forward(self, image: torch.Tensor, coarser: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the displacement that the level adds, and its features for the next level.

        Args:
            image: pairs (B, in_channels, D, H, W), with the field so far.
            coarser: features (B, C, D/4, H/4, W/4) of the next coarser level; None at the coarsest.

        Returns:
            Displacement field (B, 3, D, H, W) fp32 in voxels of the level, and features (B, C, D/2, H/2, W/2).
        """
        fine = self.encoder(image)
        features = self.downsampling(fine)
        if coarser is not None:
            features = features + F.interpolate(coarser, scale_factor=2, mode="trilinear")
        features = self.residual(features)
        found = self.displacement(self.decoder(torch.cat([fine, self.upsampling(features)], dim=1))).float()
        limited = F.softsign(found).unbind(dim=1)
        sizes = image.shape[2:]
        return torch.stack([LARGEST_DISPLACEMENT * n * x for n, x in zip(sizes, limited, strict=True)], dim=1), features


class LapIRN(nn.Module):
    """Laplacian pyramid of three networks, at a quarter, half and all of the resolution.

    Each level sees the fixed image, the moving image warped by the field so far, and that field, and adds a
    displacement to it. Its features are added to those of the next level. This is the displacement variant of the
    paper. Unlike there, all levels are trained together, by the loss at full resolution.

    The number of channels follows from the 1.20 M parameters that the SACB-Net paper counts; there are 1.21 M.

    Source: Mok and Chung, "Large Deformation Diffeomorphic Image Registration with Laplacian Pyramid Networks", MICCAI
    2020.

    Args:
        channels: number of channels of all features.

    Raises:
        InputError: if the number of channels is invalid.

    Example:
        >>> import torch
        >>> LapIRN(channels=4)(torch.rand(1, 2, 16, 16, 24)).shape
        torch.Size([1, 3, 16, 16, 24])
    """

    # The network of the coarsest level halves a quarter of the resolution.
    size_divisor = 8

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        check_whole("channels", 1, channels)
        self.options = {"channels": channels}
        self.levels = nn.ModuleList(LevelNetwork(5 if level else 2, channels) for level in range(NUM_LEVELS))

    @torch.autocast("cpu", enabled=False)
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Register a batch of pairs, see `SACBNet.forward`.

        Args:
            image: pairs (B, 2, D, H, W), channel 0 moving and channel 1 fixed, every size divisible by 8.

        Returns:
            Displacement field (B, 3, D, H, W) fp32 in voxels of the fixed grid.

        Raises:
            InputError: if the image does not have two channels, or a size is not divisible by 8.
        """
        check_pair(image, self.size_divisor)
        pyramid = [image]
        while len(pyramid) < NUM_LEVELS:
            pyramid.append(halve(pyramid[-1]))
        field, features = self.levels[0](pyramid.pop(), None)
        for level in self.levels[1:]:
            field = upsample_field(field)
            moving, fixed = pyramid.pop().chunk(2, dim=1)
            displacement, features = level(torch.cat([warp(moving, field), fixed, field], dim=1), features)
            field = field + displacement
        return field
