"""Upsampling of displacement fields with a gradient that is gathered, not scattered."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, compiled


@compiled
def _corner_of(fine, scale, size, side: tl.constexpr):
    """Return the index of a fine voxel's lower (0) or upper (1) coarse neighbour along one axis, and its weight."""
    position = fine.to(tl.float32) * scale
    lower = tl.floor(position)
    weight = position - lower
    if side == 0:
        weight = 1 - weight
    return tl.minimum(lower.to(tl.int32) + side, size - 1), weight


@compiled
def _upsample_kernel(field, out, num_fine, depth, height, width, scale_d, scale_h, scale_w, BLOCK: tl.constexpr):
    """Upsample one component of one field to twice the size, and double its values."""
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    component = tl.program_id(1).to(tl.int64)
    inside = voxel < num_fine
    field += component * depth * height * width
    w, rest = voxel % (2 * width), voxel // (2 * width)
    h, d = rest % (2 * height), rest // (2 * height)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for corner in tl.static_range(8):
        read_d, weight_d = _corner_of(d, scale_d, depth, corner // 4)
        read_h, weight_h = _corner_of(h, scale_h, height, corner // 2 % 2)
        read_w, weight_w = _corner_of(w, scale_w, width, corner % 2)
        values = tl.load(field + (read_d * height + read_h) * width + read_w, mask=inside, other=0)
        total += values * weight_d * weight_h * weight_w
    tl.store(out + component * num_fine + voxel, 2 * total, mask=inside)


@compiled
def _first_fine(coarse, scale):
    """Return the first of the up to five fine voxels along one axis that a coarse voxel contributes to."""
    # The scale is at least 1/3, or 0 along an axis of one voxel.
    return tl.floor((coarse - 1).to(tl.float32) / tl.maximum(scale, 1 / 3)).to(tl.int32) + 1


@compiled
def _share_of(fine, coarse, scale, size):
    """Return the weight of a coarse voxel in a fine voxel along one axis; zero if the fine voxel is outside."""
    weight = tl.maximum(0.0, 1 - tl.abs(fine.to(tl.float32) * scale - coarse.to(tl.float32)))
    return tl.where((fine >= 0) & (fine < 2 * size), weight, 0)


@compiled
def _upsample_gradient_kernel(
    upstream, out, num_coarse, depth, height, width, scale_d, scale_h, scale_w, BLOCK: tl.constexpr
):
    """Compute the gradient of one component of one coarse field."""
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    component = tl.program_id(1).to(tl.int64)
    inside = voxel < num_coarse
    upstream += component * num_coarse * 8
    w, rest = voxel % width, voxel // width
    h, d = rest % height, rest // height
    first_d, first_h, first_w = _first_fine(d, scale_d), _first_fine(h, scale_h), _first_fine(w, scale_w)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for row in range(25):
        fine_d, fine_h = first_d + row // 5, first_h + row % 5
        share = _share_of(fine_d, d, scale_d, depth) * _share_of(fine_h, h, scale_h, height)
        for step in tl.static_range(5):
            fine_w = first_w + step
            weight = share * _share_of(fine_w, w, scale_w, width)
            read = (fine_d * 2 * height + fine_h) * 2 * width + fine_w
            total += weight * tl.load(upstream + read, mask=inside & (weight > 0), other=0)
    tl.store(out + component * num_coarse + voxel, 2 * total, mask=inside)


class UpsampleField(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.upsample_field`."""

    @staticmethod
    def forward(ctx: Any, field: torch.Tensor) -> torch.Tensor:
        """Return the field (B, 3, D, H, W) at twice the size."""
        field = field.float().contiguous()
        batch, _, depth, height, width = field.shape
        out = field.new_empty((batch, 3, 2 * depth, 2 * height, 2 * width))
        num_fine, block = out[0, 0].numel(), block_size(512)
        _upsample_kernel[(cdiv(num_fine, block), batch * 3)](
            field, out, num_fine, depth, height, width, *_scales(field), block
        )
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the coarse field."""
        batch, _, *shape = upstream.shape
        depth, height, width = (size // 2 for size in shape)
        out = upstream.new_empty((batch, 3, depth, height, width))
        num_coarse, block = out[0, 0].numel(), block_size(256)
        _upsample_gradient_kernel[(cdiv(num_coarse, block), batch * 3)](
            upstream.contiguous(), out, num_coarse, depth, height, width, *_scales(out), block
        )
        return out


def _scales(field: torch.Tensor) -> list[float]:
    """Return the distance between fine voxels in coarse voxels per axis; first and last voxel centres coincide."""
    return [(size - 1) / (2 * size - 1) for size in field.shape[2:]]
