"""Tiling of the kernels of the spatial-awareness convolution."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton.language as tl  # noqa: F401 (the interpreter looks for it)

from .tiles import cdiv, compiled, neighbour, next_power_of_2


@dataclass(frozen=True)
class AdaptiveTiling:
    """Tile sizes of the convolution, which are compile-time constants of the kernels.

    Attributes:
        in_channels: number of input channels.
        out_channels: number of output channels.
        block_k: number of input channels per matrix product.
        block_out: number of output channels per program.
    """

    in_channels: int
    out_channels: int
    block_k: int
    block_out: int

    @classmethod
    def of(cls, in_channels: int, out_channels: int) -> AdaptiveTiling:
        """Return the tiling for a number of input and output channels.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels.

        Returns:
            The tiling; its blocks are powers of two from 16, the least that a matrix product takes, to 64.
        """
        block_k, block_out = (min(max(16, next_power_of_2(c)), 64) for c in (in_channels, out_channels))
        return cls(in_channels, out_channels, block_k, block_out)

    @property
    def out_blocks(self) -> int:
        """Number of programs that share the output channels of a block of voxels."""
        return cdiv(self.out_channels, self.block_out)


@compiled
def neighbour_at_tap(voxel, tap, depth, height, width):
    """Return `neighbour` at the offset of a tap.

    Args:
        voxel: indices of voxels in the flat image.
        tap: number of the tap of the 3x3x3 kernel, from 0 to 26, with W running fastest.
        depth: D, number of voxels along the first axis.
        height: H, number of voxels along the second axis.
        width: W, number of voxels along the third axis.

    Returns:
        Indices of the neighbours in the flat image, and whether each lies inside the image.
    """
    return neighbour(voxel, tap // 9 - 1, tap // 3 % 3 - 1, tap % 3 - 1, depth, height, width)


def tap_by_tap(weight: torch.Tensor, dtype: torch.dtype, transposed: bool = False) -> torch.Tensor:
    """Return the weight with the taps first.

    Args:
        weight: kernel (C_out, C_in, 27).
        dtype: dtype of the result.
        transposed: return the weight of the transposed convolution.

    Returns:
        Weight (27, C_in, C_out), or (27, C_out, C_in) if transposed.
    """
    laid_out = weight.permute(2, 0, 1).flip(0) if transposed else weight.permute(2, 1, 0)
    return laid_out.to(dtype).contiguous()
