"""Fourier-Net: the field as a small, band-limited one that a Fourier transform brings to full resolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..checks import check_pair, check_whole
from ..conv_block import Convolution, start_near_zero
from .unet import UNet, conv_prelu

# The U-Net ends at level 3.
FACTOR = 4


class FourierNet(nn.Module):
    """U-Net that ends at a quarter of the resolution; its field there is interpolated by a Fourier transform.

    The transform of the small field is padded with zeros, so the field at full resolution has only its frequencies.
    The number of base channels follows from the 4.20 M parameters that the SACB-Net paper counts; there are 4.19 M.

    Source: Jia et al., "Fourier-Net: Fast Image Registration with Band-Limited Deformation", AAAI 2023.

    Args:
        base_channels: number of base channels c; the five levels have c, 2c, 4c, 8c and 8c channels.

    Raises:
        InputError: if the number of channels is invalid.

    Example:
        >>> import torch
        >>> FourierNet(base_channels=2)(torch.rand(1, 2, 16, 16, 32)).shape
        torch.Size([1, 3, 16, 16, 32])
    """

    # The coarsest features have a sixteenth of the resolution.
    size_divisor = 16

    def __init__(self, base_channels: int = 18) -> None:
        super().__init__()
        check_whole("base_channels", 1, base_channels)
        self.options = {"base_channels": base_channels}
        self.unet = UNet(base_channels, lambda channels: conv_prelu(channels, channels), finest=3)
        self.displacement = start_near_zero(Convolution(self.unet.out_channels, 3))

    @torch.autocast("cpu", enabled=False)
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Register a batch of pairs, see `SACBNet.forward`.

        Args:
            image: pairs (B, 2, D, H, W), channel 0 moving and channel 1 fixed, every size divisible by 16.

        Returns:
            Displacement field (B, 3, D, H, W) fp32 in voxels of the fixed grid.

        Raises:
            InputError: if the image does not have two channels, or a size is not divisible by 16.
        """
        check_pair(image, self.size_divisor)
        return fourier_upsample(self.displacement(self.unet(image)).float(), FACTOR)


def fourier_upsample(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Interpolate periodic values on a finer grid by padding their Fourier transform with zeros.

    Args:
        x: values (B, C, D, H, W) fp32 at every `factor`-th voxel of the finer grid, even sizes.
        factor: whole number by which the sizes grow.

    Returns:
        Values (B, C, factor D, factor H, factor W), equal to x where x is given.
    """
    axes = (2, 3, 4)
    centred = torch.fft.fftshift(torch.fft.fftn(x, dim=axes), dim=axes)
    margins = [(factor - 1) * size // 2 for size in reversed(x.shape[2:]) for _ in range(2)]
    padded = torch.fft.ifftshift(F.pad(centred, margins), dim=axes)
    return torch.fft.ifftn(padded, dim=axes).real * factor**3
