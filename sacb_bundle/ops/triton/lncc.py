"""Local normalised cross-correlation: box sums along one axis after another, fused with the steps before and after."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, compiled


@compiled
def _moments_kernel(first, second, out, num_voxels, size_along, window, BLOCK: tl.constexpr):
    """Sum both images, their squares and their product over the window along W."""
    voxel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    coordinate = voxel % size_along
    sum_1 = tl.zeros((BLOCK,), dtype=tl.float32)
    sum_2, sum_11, sum_22, sum_12 = sum_1, sum_1, sum_1, sum_1
    for shift in range(-(window // 2), window // 2 + 1):
        inside = (voxel < num_voxels) & (coordinate + shift >= 0) & (coordinate + shift < size_along)
        a = tl.load(first + voxel + shift, mask=inside, other=0).to(tl.float32)
        b = tl.load(second + voxel + shift, mask=inside, other=0).to(tl.float32)
        sum_1 += a
        sum_2 += b
        sum_11 += a * a
        sum_22 += b * b
        sum_12 += a * b
    inside = voxel < num_voxels
    out += voxel
    tl.store(out, sum_1, mask=inside)
    tl.store(out + num_voxels, sum_2, mask=inside)
    tl.store(out + num_voxels.to(tl.int64) * 2, sum_11, mask=inside)
    tl.store(out + num_voxels.to(tl.int64) * 3, sum_22, mask=inside)
    tl.store(out + num_voxels.to(tl.int64) * 4, sum_12, mask=inside)


@compiled
def _window_sum(x, voxel, num_voxels, stride, size_along, window, BLOCK: tl.constexpr):
    """Return the sum over the window along one axis around each voxel, with zeros outside the image."""
    coordinate = voxel // stride % size_along
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for shift in range(-(window // 2), window // 2 + 1):
        inside = (voxel < num_voxels) & (coordinate + shift >= 0) & (coordinate + shift < size_along)
        total += tl.load(x + voxel + shift * stride, mask=inside, other=0)
    return total


@compiled
def _window_sum_kernel(x, out, num_voxels, stride, size_along, window, BLOCK: tl.constexpr):
    """Compute `_window_sum` of every map."""
    voxel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = tl.program_id(1).to(tl.int64) * num_voxels
    total = _window_sum(x + start, voxel, num_voxels, stride, size_along, window, BLOCK)
    tl.store(out + start + voxel, total, mask=voxel < num_voxels)


@compiled
def _correlation_kernel(
    sums,
    out,
    slopes,
    num_voxels,
    stride,
    size_along,
    window,
    volume,
    eps,
    HAS_SLOPES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum along D; compute the correlation and its derivatives by the sums of a, of a * a and of a * b."""
    voxel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < num_voxels
    sum_1 = _window_sum(sums, voxel, num_voxels, stride, size_along, window, BLOCK)
    sum_2 = _window_sum(sums + num_voxels, voxel, num_voxels, stride, size_along, window, BLOCK)
    sum_11 = _window_sum(sums + num_voxels.to(tl.int64) * 2, voxel, num_voxels, stride, size_along, window, BLOCK)
    sum_22 = _window_sum(sums + num_voxels.to(tl.int64) * 3, voxel, num_voxels, stride, size_along, window, BLOCK)
    sum_12 = _window_sum(sums + num_voxels.to(tl.int64) * 4, voxel, num_voxels, stride, size_along, window, BLOCK)
    cross = sum_12 - sum_1 * sum_2 / volume
    variance_1 = sum_11 - sum_1 * sum_1 / volume
    variance_2 = sum_22 - sum_2 * sum_2 / volume
    guarded = variance_1 * variance_2 + eps
    tl.store(out + voxel, cross * cross / guarded, mask=inside)
    if HAS_SLOPES:
        by_12 = 2 * cross / guarded
        by_11 = -cross * cross * variance_2 / (guarded * guarded)
        tl.store(slopes + voxel, -by_12 * sum_2 / volume - 2 * by_11 * sum_1 / volume, mask=inside)
        tl.store(slopes + num_voxels + voxel, by_11, mask=inside)
        tl.store(slopes + num_voxels.to(tl.int64) * 2 + voxel, by_12, mask=inside)


@compiled
def _weighted_window_sum_kernel(x, weight, out, num_voxels, stride, size_along, window, BLOCK: tl.constexpr):
    """Sum every map, multiplied by a common weight, over the window along one axis."""
    voxel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    start = tl.program_id(1).to(tl.int64) * num_voxels
    coordinate = voxel // stride % size_along
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for shift in range(-(window // 2), window // 2 + 1):
        inside = (voxel < num_voxels) & (coordinate + shift >= 0) & (coordinate + shift < size_along)
        read = voxel + shift * stride
        total += tl.load(x + start + read, mask=inside, other=0) * tl.load(weight + read, mask=inside, other=0)
    tl.store(out + start + voxel, total, mask=voxel < num_voxels)


@compiled
def _gradient_kernel(sums, first, second, out, num_voxels, stride, size_along, window, BLOCK: tl.constexpr):
    """Sum along W, then compute the gradient of the first image."""
    voxel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < num_voxels
    result = _window_sum(sums, voxel, num_voxels, stride, size_along, window, BLOCK)
    a = tl.load(first + voxel, mask=inside, other=0).to(tl.float32)
    result += 2 * a * _window_sum(sums + num_voxels, voxel, num_voxels, stride, size_along, window, BLOCK)
    b = tl.load(second + voxel, mask=inside, other=0).to(tl.float32)
    result += b * _window_sum(sums + num_voxels.to(tl.int64) * 2, voxel, num_voxels, stride, size_along, window, BLOCK)
    tl.store(out + voxel, result, mask=inside)


def _correlation(
    first: torch.Tensor, second: torch.Tensor, window: int, eps: float, with_slopes: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the correlation (B, 1, D, H, W) and its derivatives by the first image's sums (3, B*D*H*W), or none."""
    depth, height, width = first.shape[2:]
    maps = first.new_empty((5, first.numel()), dtype=torch.float32)
    summed = torch.empty_like(maps)
    out = torch.empty_like(first, dtype=torch.float32)
    num_voxels, block = first.numel(), block_size(1024)
    slopes = first.new_empty((3, num_voxels if with_slopes else 0), dtype=torch.float32)
    blocks = cdiv(num_voxels, block)
    _moments_kernel[(blocks,)](first, second, maps, num_voxels, width, window, block)
    _window_sum_kernel[(blocks, 5)](maps, summed, num_voxels, width, height, window, block)
    _correlation_kernel[(blocks,)](
        summed, out, slopes, num_voxels, height * width, depth, window, window**3, eps, with_slopes, block
    )
    return out, slopes


def _gradient_of_first(
    first: torch.Tensor, second: torch.Tensor, slopes: torch.Tensor, upstream: torch.Tensor, window: int
) -> torch.Tensor:
    """Return the gradient of the first image from the derivatives by its sums."""
    depth, height, width = first.shape[2:]
    num_voxels, block = first.numel(), block_size(1024)
    blocks = cdiv(num_voxels, block)
    along_depth, along_height = torch.empty_like(slopes), torch.empty_like(slopes)
    _weighted_window_sum_kernel[(blocks, 3)](
        slopes, upstream, along_depth, num_voxels, height * width, depth, window, block
    )
    _window_sum_kernel[(blocks, 3)](along_depth, along_height, num_voxels, width, height, window, block)
    gradient = torch.empty_like(first, dtype=torch.float32)
    _gradient_kernel[(blocks,)](along_height, first, second, gradient, num_voxels, 1, width, window, block)
    return gradient.to(first.dtype)


class LocalNCC(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.local_ncc`."""

    @staticmethod
    def forward(
        ctx: Any, first: torch.Tensor, second: torch.Tensor, window: int, eps: float, has_backward: bool
    ) -> torch.Tensor:
        """Return the correlation; for a backward pass, save three maps if the first image needs a gradient."""
        first, second = first.contiguous(), second.contiguous()
        out, slopes = _correlation(first, second, window, eps, has_backward and ctx.needs_input_grad[0])
        ctx.save_for_backward(first, second, slopes)
        ctx.window, ctx.eps = window, eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of both images; recompute the maps of the second, which seldom needs one."""
        first, second, slopes = ctx.saved_tensors
        upstream = upstream.contiguous()
        grad_first = grad_second = None
        if ctx.needs_input_grad[0]:
            grad_first = _gradient_of_first(first, second, slopes, upstream, ctx.window)
        if ctx.needs_input_grad[1]:
            _, slopes = _correlation(second, first, ctx.window, ctx.eps, with_slopes=True)
            grad_second = _gradient_of_first(second, first, slopes, upstream, ctx.window)
        return grad_first, grad_second, None, None, None
