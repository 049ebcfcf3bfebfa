"""How the kernels of the spatial-awareness convolution cut their work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton.language as tl  # noqa: F401 (the interpreter looks for it)

from .tiles import cdiv, compiled, neighbour, next_power_of_2


@dataclass(frozen=True)
class AdaptiveTiling:
    """How the convolution is cut: sizes that the kernels are compiled for.

    Attributes:
        in_channels: of the input.
        out_channels: of the output.
        block_k: input channels in one matrix product.
        block_out: output channels of one program.
    """

    in_channels: int
    out_channels: int
    block_k: int
    block_out: int

    @classmethod
    def of(cls, in_channels: int, out_channels: int) -> AdaptiveTiling:
        """Tiling for a number of channels."""
        block_k, block_out = (min(max(16, next_power_of_2(c)), 64) for c in (in_channels, out_channels))
        return cls(in_channels, out_channels, block_k, block_out)

    @property
    def out_blocks(self) -> int:
        """Programs that share the output channels of a stretch of voxels."""
        return cdiv(self.out_channels, self.block_out)


@compiled
def neighbour_at_tap(voxel, tap, depth, height, width):
    """`neighbour` at the offset of a tap."""
    return neighbour(voxel, tap // 9 - 1, tap // 3 % 3 - 1, tap % 3 - 1, depth, height, width)


def tap_by_tap(weight: torch.Tensor, dtype: torch.dtype, transposed: bool = False) -> torch.Tensor:
    """Weight (C_out, C_in, 27) as (27, C_in, C_out); that of the transposed convolution, (27, C_out, C_in)."""
    laid_out = weight.permute(2, 0, 1).flip(0) if transposed else weight.permute(2, 1, 0)
    return laid_out.to(dtype).contiguous()
