"""Im2Grid: attention whose values are coordinates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ...ops import compose, match_similarity, upsample_field, voxel_index, warp
from ..checks import check_pair, check_whole
from ..encoder import Encoder


class Im2Grid(nn.Module):
    """Network that translates matching features into coordinates, at each of five levels.

    One encoder processes both images. From the coarsest level to full resolution, the current field warps the moving
    features. Then each fixed voxel, the query, attends to its 3x3x3 moving neighbours, the keys, whose coordinates are
    the values. The features carry a sinusoidal encoding of their position. Only the encoder has weights.

    The channels of the levels (8, 16, 32, 64 and 128) follow from the 0.89 M parameters that the SACB-Net paper counts;
    there are 0.88 M.

    Source: Liu et al., "Coordinate Translator for Learning Deformable Medical Image Registration", MMMI 2022.

    Args:
        base_channels: number of base channels c, at least 3; the five levels have 2c, 4c, 8c, 16c and 32c channels.

    Raises:
        InputError: if the number of channels is invalid.

    Example:
        >>> import torch
        >>> Im2Grid(base_channels=3)(torch.rand(1, 2, 32, 32, 48)).shape
        torch.Size([1, 3, 32, 32, 48])
    """

    # Level 5 has a sixteenth of the resolution.
    size_divisor = 16

    def __init__(self, base_channels: int = 4) -> None:
        super().__init__()
        check_whole("base_channels", 3, base_channels)  # sine and cosine of three coordinates need six channels
        self.options = {"base_channels": base_channels}
        self.encoder = Encoder(base_channels, multiples=(2, 4, 8, 16, 32))

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
        pyramid = [maps.chunk(2) for maps in self.encoder(torch.cat(image.chunk(2, dim=1)))]
        field = translate_coordinates(*pyramid.pop())
        while pyramid:
            field = upsample_field(field)
            moving, fixed = pyramid.pop()
            field = compose(field, translate_coordinates(warp(moving, field), fixed))
        return field


def translate_coordinates(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Return the displacement between the features of one level: the expected offset of the attention.

    Args:
        moving: moving features (B, C, D, H, W), at least six channels.
        fixed: fixed features (B, C, D, H, W).

    Returns:
        Displacement field (B, 3, D, H, W) in voxels, each component within [-1, 1].
    """
    positions = encode_positions(fixed)
    return match_similarity(moving.float() + positions, (fixed.float() + positions) * fixed.shape[1] ** -0.5)


def encode_positions(features: torch.Tensor) -> torch.Tensor:
    """Encode the coordinates of each voxel as sines and cosines of geometrically falling frequencies.

    Args:
        features: features (B, C, D, H, W) that give the shape, at least six channels.

    Returns:
        Encoding (1, C, D, H, W) fp32; zero in the channels that sine and cosine of three axes do not fill.
    """
    channels, sizes = features.shape[1], features.shape[2:]
    number = channels // 6
    powers = torch.arange(number, device=features.device) / number
    phases = torch.cat(
        [
            (voxel_index(features, axis) * 10000 ** -powers[:, None, None, None]).expand(number, *sizes)
            for axis in range(3)
        ]
    )
    return F.pad(torch.cat([phases.sin(), phases.cos()]), (0,) * 6 + (0, channels - 6 * number))[None]
