"""Average pooling with the channels last in memory."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, channels_last, compiled, empty_channels_last


@compiled
def _halve_kernel(x, out, size, depth, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Average each block of 2x2x2 voxels; depth, height and width are those of the result."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    channel, voxel = element % CHANNELS, element // CHANNELS
    w, rest = voxel % width, voxel // width
    h, plane = rest % height, rest // height
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for corner in tl.static_range(8):
        read = (plane * 2 + corner // 4) * 2 * height + h * 2 + corner // 2 % 2
        offset = (read * 2 * width + w * 2 + corner % 2) * CHANNELS + channel
        total += tl.load(x + offset, mask=inside, other=0).to(tl.float32)
    tl.store(out + element, (total / 8).to(out.dtype.element_ty), mask=inside)


@compiled
def _halve_gradient_kernel(upstream, out, size, depth, height, width, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Give each voxel an eighth of the gradient of its average; the sizes are those of the full grid."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    channel, voxel = element % CHANNELS, element // CHANNELS
    w, rest = voxel % width, voxel // width
    h, plane = rest % height, rest // height
    read = (plane // 2 * (height // 2) + h // 2) * (width // 2) + w // 2
    gradient = tl.load(upstream + read * CHANNELS + channel, mask=inside, other=0).to(tl.float32)
    tl.store(out + element, (gradient / 8).to(out.dtype.element_ty), mask=inside)


class Halve(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.halve`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of each block of 2x2x2 voxels."""
        x = channels_last(x)
        batch, channels, depth, height, width = x.shape
        out = empty_channels_last((batch, channels, depth // 2, height // 2, width // 2), x)
        block = block_size(1024)
        _halve_kernel[(cdiv(out.numel(), block),)](x, out, out.numel(), *out.shape[2:], channels, block)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        """Return an eighth of the gradient for each voxel."""
        batch, channels, depth, height, width = upstream.shape
        out = empty_channels_last((batch, channels, depth * 2, height * 2, width * 2), upstream)
        block = block_size(1024)
        _halve_gradient_kernel[(cdiv(out.numel(), block),)](
            channels_last(upstream), out, out.numel(), *out.shape[2:], channels, block
        )
        return out
