"""LKU-Net: a U-Net whose encoder has large kernels."""

from __future__ import annotations

import torch
from torch import nn

from ..checks import check_pair, check_whole
from ..conv_block import Convolution, start_near_zero
from .unet import UNet


class LargeKernelBlock(nn.Module):
    """PReLU of the sum of the input and its 5x5x5, 3x3x3 and 1x1x1 convolutions.

    Args:
        channels: number of channels C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(channels, channels, kernel_size=size, padding=size // 2) for size in (5, 3, 1)
        )
        self.activation = nn.PReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block.

        Args:
            x: features (B, C, D, H, W).

        Returns:
            Features (B, C, D, H, W).
        """
        return self.activation(x + sum(convolution(x) for convolution in self.convolutions))


class LKUNet(nn.Module):
    """U-Net with a large-kernel block at levels 2 to 5 of its encoder; its last convolution is the field.

    This is the displacement variant of the paper, with 8 base channels and kernels of 5x5x5 voxels. It has 2.05 M
    parameters, where the SACB-Net paper counts 2.09 M.

    Source: Jia et al., "U-Net vs Transformer: Is U-Net Outdated in Medical Image Registration?", MLMI 2022.

    Args:
        base_channels: number of base channels c; the five levels have c, 2c, 4c, 8c and 8c channels.

    Raises:
        InputError: if the number of channels is invalid.

    Example:
        >>> import torch
        >>> LKUNet(base_channels=2)(torch.rand(1, 2, 16, 16, 32)).shape
        torch.Size([1, 3, 16, 16, 32])
    """

    # The coarsest features have a sixteenth of the resolution.
    size_divisor = 16

    def __init__(self, base_channels: int = 8) -> None:
        super().__init__()
        check_whole("base_channels", 1, base_channels)
        self.options = {"base_channels": base_channels}
        self.unet = UNet(base_channels, LargeKernelBlock, finest=1)
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
        return self.displacement(self.unet(image)).float()
