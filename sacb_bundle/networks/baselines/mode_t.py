"""ModeT: matching of features by several heads, each of which sees one motion."""

from __future__ import annotations

import torch
from torch import nn

from ...ops import compose, match_similarity, upsample_field, warp
from ...ops.neighbourhood import NUM_TAPS
from ..checks import check_pair, check_whole
from ..conv_block import ConvBlock, Convolution
from ..encoder import Encoder

# Number of heads of each level, coarse to fine, and of channels of a head.
HEADS = {5: 8, 4: 4, 3: 2, 2: 1, 1: 1}
HEAD_CHANNELS = 6


class MotionDecomposition(nn.Module):
    """Attention of each fixed voxel to its 27 moving neighbours by several heads; the values are the offsets.

    Args:
        channels: number of channels C of the features.
        heads: number of heads S.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.projection = nn.Linear(channels, heads * HEAD_CHANNELS)
        self.bias = nn.Parameter(torch.zeros(heads, NUM_TAPS))

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Return one displacement field per head.

        Args:
            moving: moving features (B, C, D, H, W).
            fixed: fixed features (B, C, D, H, W).

        Returns:
            Displacement fields (B, S, 3, D, H, W) in voxels, each component within [-1, 1].
        """
        batch, heads = len(moving), len(self.bias)
        scaled = self.project(fixed) * HEAD_CHANNELS**-0.5
        fields = match_similarity(self.project(moving), scaled, self.bias.repeat(batch, 1))
        return fields.unflatten(0, (batch, heads))

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Project features to the channels of every head.

        Args:
            features: features (B, C, D, H, W).

        Returns:
            Features (B * S, HEAD_CHANNELS, D, H, W), the heads of an item one after the other.
        """
        projected = self.projection(self.norm(features.movedim(1, -1))).movedim(-1, 1)
        return projected.unflatten(1, (-1, HEAD_CHANNELS)).flatten(0, 1)


class CompetitiveWeighting(nn.Module):
    """Combines the fields of all heads at twice the resolution, by weights that compete in a softmax.

    Args:
        heads: number of heads S.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            ConvBlock(3 * heads, 6 * heads), ConvBlock(6 * heads, 3 * heads), Convolution(3 * heads, heads)
        )

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Combine fields.

        Args:
            fields: displacement fields (B, S, 3, D, H, W), in voxels.

        Returns:
            Displacement field (B, 3, 2D, 2H, 2W), in voxels of the new grid.
        """
        fine = upsample_field(fields.flatten(0, 1)).unflatten(0, fields.shape[:2])
        weights = self.weights(fine.flatten(1, 2)).float().softmax(dim=1)
        return (weights.unsqueeze(2) * fine).sum(dim=1)


class ModeT(nn.Module):
    """Network that decomposes the motion at each level: every head of an attention gives one field.

    One encoder processes both images. From the coarsest of five levels to the finest, the current field warps the
    moving features, every head compares them with the fixed ones in a 3x3x3 neighbourhood, and a few convolutions
    weight the fields of the heads. A level of one head needs no weights.

    The channels of the levels (8, 16, 32, 64 and 128) and of a head (6) follow from the 1.03 M parameters that the
    SACB-Net paper counts; there are 0.98 M.

    Source: Wang et al., "ModeT: Learning Deformable Image Registration via Motion Decomposition Transformer", MICCAI
    2023.

    Args:
        base_channels: number of base channels c; the five levels have 2c, 4c, 8c, 16c and 32c channels.

    Raises:
        InputError: if the number of channels is invalid.

    Example:
        >>> import torch
        >>> ModeT(base_channels=1)(torch.rand(1, 2, 32, 32, 48)).shape
        torch.Size([1, 3, 32, 32, 48])
    """

    # Level 5 has a sixteenth of the resolution.
    size_divisor = 16

    def __init__(self, base_channels: int = 4) -> None:
        super().__init__()
        check_whole("base_channels", 1, base_channels)
        self.options = {"base_channels": base_channels}
        self.encoder = Encoder(base_channels, multiples=(2, 4, 8, 16, 32))
        self.attention = nn.ModuleDict(
            {str(level): MotionDecomposition(self.encoder.channels[level], heads) for level, heads in HEADS.items()}
        )
        self.weighting = nn.ModuleDict(
            {str(level): CompetitiveWeighting(heads) for level, heads in HEADS.items() if heads > 1}
        )

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
        field = self.refined(5, self.attention["5"](*pyramid.pop()))
        for level in (4, 3, 2):
            moving, fixed = pyramid.pop()
            fields = self.attention[str(level)](warp(moving, field), fixed)
            field = compose(upsample_field(field), self.refined(level, fields))
        moving, fixed = pyramid.pop()
        return compose(field, self.attention["1"](warp(moving, field), fixed).squeeze(1))

    def refined(self, level: int, fields: torch.Tensor) -> torch.Tensor:
        """Return the displacement that a level adds, on the grid of the next finer level.

        Args:
            level: 5, 4, 3 or 2.
            fields: displacement fields (B, S, 3, d, h, w) of the heads, in voxels of the level.

        Returns:
            Displacement field (B, 3, 2d, 2h, 2w), in voxels of the finer level.
        """
        return self.weighting[str(level)](fields) if str(level) in self.weighting else upsample_field(fields.squeeze(1))
