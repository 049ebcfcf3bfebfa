"""Convolution, instance normalisation and leaky ReLU that save only inputs and result for the backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .conv import conv3d
from .conv_weight import conv3d_weight_gradient
from .tiles import block_size, cdiv, channels_last, compiled, next_power_of_2, num_workers


@compiled
def _combine_moments_kernel(moments, statistics, count, eps, BLOCK: tl.constexpr):
    """Compute mean and 1 / sqrt(variance + eps) of a channel from the moments of its blocks."""
    channel = tl.program_id(0)
    moments += channel * 3 * count
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    weighted = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, count, BLOCK):
        part = start + tl.arange(0, BLOCK)
        number = tl.load(moments + part, mask=part < count, other=0)
        total += number
        weighted += number * tl.load(moments + count + part, mask=part < count, other=0)
    size = tl.sum(total)
    mean = tl.sum(weighted) / size
    squared = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, count, BLOCK):
        part = start + tl.arange(0, BLOCK)
        number = tl.load(moments + part, mask=part < count, other=0)
        deviation = tl.load(moments + count + part, mask=part < count, other=0) - mean
        squared += tl.load(moments + 2 * count + part, mask=part < count, other=0) + number * deviation * deviation
    tl.store(statistics + channel * 2, mean)
    tl.store(statistics + channel * 2 + 1, 1 / tl.sqrt(tl.sum(squared) / size + eps))


@compiled
def _normalise_kernel(x, statistics, size, slope, CHANNELS: tl.constexpr, BLOCK: tl.constexpr):
    """Replace x by the leaky ReLU of (x - mean) * rstd."""
    batch = tl.program_id(1).to(tl.int64)
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    x += batch * size + element
    statistics += (batch * CHANNELS + element % CHANNELS) * 2
    values = (tl.load(x, mask=inside).to(tl.float32) - tl.load(statistics)) * tl.load(statistics + 1)
    tl.store(x, tl.where(values > 0, values, values * slope).to(x.dtype.element_ty), mask=inside)


@compiled
def _normalised_and_gradient(y, upstream, offset, inside, slope):
    """Return the input of the leaky ReLU, recovered from its output, and the gradient of that input."""
    values = tl.load(y + offset, mask=inside, other=0).to(tl.float32)
    gradient = tl.load(upstream + offset, mask=inside, other=0).to(tl.float32)
    positive = values > 0
    return tl.where(positive, values, values / slope), tl.where(positive, gradient, gradient * slope)


@compiled
def _gradient_sums_kernel(
    y, upstream, sums, num_voxels, slope, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr
):
    """Sum the gradient, and its product with the normalised values, per channel."""
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BLOCK_C)
    y += batch * num_voxels * CHANNELS
    upstream += batch * num_voxels * CHANNELS
    total = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    product = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, num_voxels, tl.num_programs(0) * BLOCK):
        voxel = start + tl.arange(0, BLOCK)
        inside = (voxel < num_voxels)[:, None] & (channel < CHANNELS)[None, :]
        offset = voxel[:, None] * CHANNELS + channel[None, :]
        normalised, gradient = _normalised_and_gradient(y, upstream, offset, inside, slope)
        total += gradient
        product += gradient * normalised
    sums += (batch * tl.num_programs(0) + tl.program_id(0)) * 2 * CHANNELS + channel
    tl.store(sums, tl.sum(total, axis=0), mask=channel < CHANNELS)
    tl.store(sums + CHANNELS, tl.sum(product, axis=0), mask=channel < CHANNELS)


@compiled
def _norm_gradient_kernel(
    y, upstream, statistics, means, out, size, slope, CHANNELS: tl.constexpr, BLOCK: tl.constexpr
):
    """Compute the gradient of the normalisation's input: rstd * (g - mean(g) - z * mean(g z))."""
    batch = tl.program_id(1).to(tl.int64)
    element = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = element < size
    channel = element % CHANNELS
    offset = batch * size + element
    normalised, gradient = _normalised_and_gradient(y, upstream, offset, inside, slope)
    means += batch * 2 * CHANNELS + channel
    rstd = tl.load(statistics + (batch * CHANNELS + channel) * 2 + 1)
    result = rstd * (gradient - tl.load(means) - normalised * tl.load(means + CHANNELS))
    tl.store(out + offset, result.to(out.dtype.element_ty), mask=inside)


class ConvNormLeakyReLU(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.conv_norm_leaky_relu`.

    A leaky ReLU is invertible, so the backward pass recovers the normalised values from the result. The result is also
    the input of the next layer, so each feature map is stored once.
    """

    @staticmethod
    def forward(
        ctx: Any,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        slope: float,
        eps: float,
        *inputs: torch.Tensor,
    ) -> torch.Tensor:
        """Convolve with moments, then normalise in place. The normalisation cancels the bias."""
        inputs = tuple(channels_last(x) for x in inputs)
        parts = _split_weight(weight, inputs)
        y = None
        for x, part in zip(inputs[:-1], parts[:-1], strict=True):
            y, _ = conv3d(x, part, addend=y)
        y, moments = conv3d(inputs[-1], parts[-1], moments=True, addend=y)
        batch, channels = y.shape[:2]
        statistics = y.new_empty((batch, channels, 2), dtype=torch.float32)
        _combine_moments_kernel[(batch * channels,)](
            moments, statistics, moments.shape[3], eps, BLOCK=8192, num_warps=32
        )
        size, block = y[0].numel(), block_size(2048)
        _normalise_kernel[(cdiv(size, block), batch)](y, statistics, size, slope, channels, block)
        ctx.save_for_backward(weight, y, statistics, *inputs)
        ctx.slope = slope
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of weight, bias (zero) and inputs."""
        weight, y, statistics, *inputs = ctx.saved_tensors
        upstream = channels_last(upstream)
        batch, channels = y.shape[:2]
        num_voxels = y[0, 0].numel()
        workers = num_workers(y.device, 4)
        block_c = next_power_of_2(channels)
        sums = y.new_empty((batch, workers, 2, channels), dtype=torch.float32)
        _gradient_sums_kernel[(workers, batch)](
            y, upstream, sums, num_voxels, ctx.slope, channels, block_c, max(1, block_size(4096) // block_c)
        )
        means = sums.sum(dim=1) / num_voxels
        gradient = torch.empty_like(y)
        size, block = y[0].numel(), block_size(2048)
        _norm_gradient_kernel[(cdiv(size, block), batch)](
            y, upstream, statistics, means, gradient, size, ctx.slope, channels, block
        )
        grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_weight = torch.cat([conv3d_weight_gradient(x, gradient) for x in inputs], dim=1).to(weight.dtype)
        grad_inputs = [
            conv3d(gradient, part, transposed=True)[0] if needed else None
            for part, needed in zip(_split_weight(weight, inputs), ctx.needs_input_grad[4:], strict=True)
        ]
        return grad_weight, weight.new_zeros(channels) if ctx.needs_input_grad[1] else None, None, None, *grad_inputs


def _split_weight(weight: torch.Tensor, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Return the part of the weight that applies to each input."""
    return weight.split([x.shape[1] for x in inputs], dim=1)
