"""Similarity matching with an online softmax: writes three components per voxel and no logits."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, channels_last, compiled, neighbour, next_power_of_2


@compiled
def _match_kernel(
    moving,
    fixed,
    out,
    log_sums,
    depth,
    height,
    width,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the expected offset of a block of voxels, and the logarithm of the sum of their exponentials."""
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    in_image, in_channels = voxel < num_voxels, channel < CHANNELS
    moving += batch * num_voxels * CHANNELS
    fixed += batch * num_voxels * CHANNELS
    here = tl.load(
        fixed + voxel[:, None] * CHANNELS + channel[None, :], mask=in_image[:, None] & in_channels[None, :], other=0
    ).to(tl.float32)
    largest = tl.full((BLOCK,), float("-inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    sum_d, sum_h, sum_w = total, total, total
    for shift_d in range(-1, 2):
        for shift_h in range(-1, 2):
            for shift_w in range(-1, 2):
                read, inside = neighbour(voxel, shift_d, shift_h, shift_w, depth, height, width)
                there = tl.load(
                    moving + read[:, None] * CHANNELS + channel[None, :],
                    mask=(inside & in_image)[:, None] & in_channels[None, :],
                    other=0,
                ).to(tl.float32)
                # Outside the image, features and logit are zero; the logit takes part in the softmax.
                logit = tl.sum(here * there, axis=1)
                new_largest = tl.maximum(largest, logit)
                shrink, weight = tl.exp(largest - new_largest), tl.exp(logit - new_largest)
                total = total * shrink + weight
                sum_d = sum_d * shrink + weight * shift_d
                sum_h = sum_h * shrink + weight * shift_h
                sum_w = sum_w * shrink + weight * shift_w
                largest = new_largest
    out += batch * 3 * num_voxels + voxel
    tl.store(out, sum_d / total, mask=in_image)
    tl.store(out + num_voxels, sum_h / total, mask=in_image)
    tl.store(out + 2 * num_voxels, sum_w / total, mask=in_image)
    tl.store(log_sums + batch * num_voxels + voxel, largest + tl.log(total), mask=in_image)


@compiled
def _logit_gradient(logit, voxel, inside, out, log_sums, upstream, shift_d, shift_h, shift_w, num_voxels):
    """Return the gradient of each voxel's logit: its softmax weight times upstream * (offset - expected offset)."""
    weight = tl.exp(logit - tl.load(log_sums + voxel, mask=inside, other=0))
    slope = tl.load(upstream + voxel, mask=inside, other=0) * (shift_d - tl.load(out + voxel, mask=inside, other=0))
    voxel += num_voxels
    slope += tl.load(upstream + voxel, mask=inside, other=0) * (shift_h - tl.load(out + voxel, mask=inside, other=0))
    voxel += num_voxels
    slope += tl.load(upstream + voxel, mask=inside, other=0) * (shift_w - tl.load(out + voxel, mask=inside, other=0))
    return weight * slope


@compiled
def _match_gradient_kernel(
    moving,
    fixed,
    out,
    log_sums,
    upstream,
    grad_moving,
    grad_fixed,
    depth,
    height,
    width,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradients of both feature maps at a block of voxels, recomputing the logits.

    A moving voxel gathers from the fixed voxels that read it, so programs add nothing to each other's results.
    """
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    in_image, in_channels = voxel < num_voxels, channel < CHANNELS
    base = batch * num_voxels * CHANNELS
    here = voxel[:, None] * CHANNELS + channel[None, :]
    here_inside = in_image[:, None] & in_channels[None, :]
    out += batch * 3 * num_voxels
    upstream += batch * 3 * num_voxels
    log_sums += batch * num_voxels
    fixed_here = tl.load(fixed + base + here, mask=here_inside, other=0).to(tl.float32)
    moving_here = tl.load(moving + base + here, mask=here_inside, other=0).to(tl.float32)
    to_fixed = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    to_moving = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for shift_d in range(-1, 2):
        for shift_h in range(-1, 2):
            for shift_w in range(-1, 2):
                read, inside = neighbour(voxel, shift_d, shift_h, shift_w, depth, height, width)
                inside = inside & in_image
                there = read[:, None] * CHANNELS + channel[None, :]
                there_inside = inside[:, None] & in_channels[None, :]
                moving_there = tl.load(moving + base + there, mask=there_inside, other=0).to(tl.float32)
                logit = tl.sum(fixed_here * moving_there, axis=1)
                gradient = _logit_gradient(
                    logit, voxel, in_image, out, log_sums, upstream, shift_d, shift_h, shift_w, num_voxels
                )
                to_fixed += gradient[:, None] * moving_there
                # Seen from that neighbour, this voxel lies at the opposite offset.
                fixed_there = tl.load(fixed + base + there, mask=there_inside, other=0).to(tl.float32)
                logit = tl.sum(moving_here * fixed_there, axis=1)
                gradient = _logit_gradient(
                    logit, read, inside, out, log_sums, upstream, -shift_d, -shift_h, -shift_w, num_voxels
                )
                to_moving += gradient[:, None] * fixed_there
    tl.store(grad_fixed + base + here, to_fixed.to(grad_fixed.dtype.element_ty), mask=here_inside)
    tl.store(grad_moving + base + here, to_moving.to(grad_moving.dtype.element_ty), mask=here_inside)


class MatchSimilarity(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.match_similarity`."""

    @staticmethod
    def forward(ctx: Any, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Return the expected offsets; save them and one number per voxel for the backward pass."""
        moving, fixed = channels_last(moving), channels_last(fixed)
        batch, _, *shape = moving.shape
        out = moving.new_empty((batch, 3, *shape), dtype=torch.float32)
        log_sums = moving.new_empty((batch, *shape), dtype=torch.float32)
        grid, sizes = _launch_sizes(moving)
        _match_kernel[grid](moving, fixed, out, log_sums, *sizes)
        ctx.save_for_backward(moving, fixed, out, log_sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradients of moving and fixed features."""
        moving, fixed, out, log_sums = ctx.saved_tensors
        grad_moving, grad_fixed = torch.empty_like(moving), torch.empty_like(fixed)
        grid, sizes = _launch_sizes(moving)
        _match_gradient_kernel[grid](
            moving, fixed, out, log_sums, upstream.contiguous(), grad_moving, grad_fixed, *sizes
        )
        return grad_moving, grad_fixed


def _launch_sizes(features: torch.Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the launch grid, and the sizes and constants that both kernels take."""
    batch, channels, *shape = features.shape
    block = block_size(64)
    grid = (cdiv(features.shape[2:].numel(), block), batch)
    return grid, (*shape, channels, next_power_of_2(channels), block)
