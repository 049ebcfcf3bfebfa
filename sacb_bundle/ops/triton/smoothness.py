"""Mean squared differences of a displacement field, without storing the differences."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, compiled


@compiled
def _forward_difference(x, element, stride, size, inside):
    """Return the difference to the next voxel along one axis; zero at the last."""
    has_next = inside & (element // stride % size < size - 1)
    following = tl.load(x + element + stride, mask=has_next, other=0)
    return following - tl.load(x + element, mask=has_next, other=0)


@compiled
def _backward_difference(x, element, stride, size, inside):
    """Return the difference from the previous voxel along one axis; zero at the first."""
    has_previous = inside & (element // stride % size > 0)
    previous = tl.load(x + element - stride, mask=has_previous, other=0)
    return tl.load(x + element, mask=has_previous, other=0) - previous


@compiled
def _squared_differences_kernel(
    x, sums, num_elements, depth, height, width, factor_d, factor_h, factor_w, BLOCK: tl.constexpr
):
    """Compute the weighted sum of squared differences along the three axes over a block of elements."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < num_elements
    along_d = _forward_difference(x, element, height * width, depth, inside)
    along_h = _forward_difference(x, element, width, height, inside)
    along_w = _forward_difference(x, element, 1, width, inside)
    total = factor_d * along_d * along_d + factor_h * along_h * along_h + factor_w * along_w * along_w
    tl.store(sums + tl.program_id(0), tl.sum(total))


@compiled
def _squared_differences_gradient_kernel(
    x, upstream, out, num_elements, depth, height, width, factor_d, factor_h, factor_w, BLOCK: tl.constexpr
):
    """Compute the gradient of that sum: twice the backward minus the forward differences."""
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < num_elements
    area = height * width
    along_d = _backward_difference(x, element, area, depth, inside) - _forward_difference(
        x, element, area, depth, inside
    )
    along_h = _backward_difference(x, element, width, height, inside)
    along_h -= _forward_difference(x, element, width, height, inside)
    along_w = _backward_difference(x, element, 1, width, inside) - _forward_difference(x, element, 1, width, inside)
    total = factor_d * along_d + factor_h * along_h + factor_w * along_w
    tl.store(out + element, 2 * tl.load(upstream) * total, mask=inside)


class SquaredDifferences(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.squared_differences`."""

    @staticmethod
    def forward(ctx: Any, field: torch.Tensor) -> torch.Tensor:
        """Return a scalar; save only the field."""
        field = field.float().contiguous()
        ctx.save_for_backward(field)
        block = block_size(1024)
        sums = field.new_empty(cdiv(field.numel(), block))
        _squared_differences_kernel[(sums.numel(),)](field, sums, *_sizes_of(field), block)
        return sums.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the field."""
        (field,) = ctx.saved_tensors
        out, block = torch.empty_like(field), block_size(1024)
        _squared_differences_gradient_kernel[(cdiv(field.numel(), block),)](
            field, upstream, out, *_sizes_of(field), block
        )
        return out


def _sizes_of(field: torch.Tensor) -> tuple[float, ...]:
    """Return the number of elements, the sizes, and the weight of a squared difference along each axis in the mean."""
    shape = field.shape[2:]
    factors = [size / (3 * field.numel() * max(size - 1, 1)) for size in shape]
    return (field.numel(), *shape, *factors)
