"""VoxelMorph: a U-Net that maps a pair to its displacement field."""

from __future__ import annotations

import torch
from torch import nn

from ...errors import InputError
from ..checks import check_pair
from ..conv_block import start_near_zero

# Channels of the last two convolutions before the field, by variant.
LAST_CHANNELS = {1: 8, 2: 16}


class VoxelMorph(nn.Module):
    """U-Net with four strided convolutions, MONAI's `VoxelMorphUNet`; its last convolution is the field.

    It predicts displacements at full resolution, without integration. The variants differ in the width of the last
    layers: 8 and 16 channels give 0.28 M and 0.29 M parameters, where the SACB-Net paper counts 0.27 M and 0.30 M.

    Source: Balakrishnan et al., "An Unsupervised Learning Model for Deformable Medical Image Registration", CVPR 2018.

    Args:
        variant: 1 for VoxelMorph-1, 2 for VoxelMorph-2.

    Raises:
        InputError: if the variant is neither 1 nor 2.

    Example:
        >>> import torch
        >>> VoxelMorph()(torch.rand(1, 2, 16, 16, 32)).shape
        torch.Size([1, 3, 16, 16, 32])
    """

    # The coarsest features have a sixteenth of the resolution.
    size_divisor = 16

    def __init__(self, variant: int = 1) -> None:
        super().__init__()
        from monai.networks.nets import VoxelMorphUNet  # here, since other networks do without MONAI

        if type(variant) is not int or variant not in LAST_CHANNELS:
            raise InputError(f"variant is {variant!r}; it must be one of {list(LAST_CHANNELS)}.")
        self.options = {"variant": variant}
        last = LAST_CHANNELS[variant]
        self.unet = VoxelMorphUNet(
            spatial_dims=3,
            in_channels=2,
            unet_out_channels=last,
            # On the way down and up, from full resolution to an eighth. The bottom, at a sixteenth, has 32 channels.
            channels=(16, 32, 32, 32, 32, 32, 32, 32),
            final_conv_channels=(last,),
            use_maxpool=False,
        )
        convolutions = [module for module in self.unet.modules() if isinstance(module, nn.Conv3d)]
        start_near_zero(convolutions[-1])

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
        return self.unet(image).float()
