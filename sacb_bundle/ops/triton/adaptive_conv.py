"""Spatial-awareness convolution that scales each tap voxel by voxel just before the matrix product."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from ..instance_norm import NEGATIVE_SLOPE
from .adaptive_gradients import cluster_gradients, weight_gradient
from .adaptive_tiling import AdaptiveTiling, neighbour_at_tap, tap_by_tap
from .tiles import block_size, cdiv, channels_last, compiled, dot_precision, next_power_of_2


@compiled
def _adaptive_residual_conv3d_kernel(
    x,
    weight,
    tap_weights,
    bias,
    labels,
    residual,
    out,
    signs,
    slope,
    depth,
    height,
    width,
    num_clusters,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    KEEPS_SIGNS: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the output of a block of voxels, or the gradient of the input there.

    The gradient uses the tap weights of the voxel that is read. The weight is (27, IN, OUT). With `KEEPS_SIGNS`, the
    signs of the input of the leaky ReLU are stored as bits, one integer per voxel and `BLOCK_OUT` channels.
    """
    CHUNKS: tl.constexpr = (IN + BLOCK_K - 1) // BLOCK_K
    batch = tl.program_id(1).to(tl.int64)
    num_voxels = depth * height * width
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_image = voxel < num_voxels
    x += batch * num_voxels * IN
    labels += batch * num_voxels
    tap_weights += batch * num_clusters * 27
    label = tl.load(labels + voxel, mask=in_image, other=0)
    k = tl.arange(0, BLOCK_K)
    channel = tl.program_id(2) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    result = tl.zeros((BLOCK, BLOCK_OUT), dtype=tl.float32)
    for step in range(27 * CHUNKS):
        tap = step // CHUNKS
        in_channel = step % CHUNKS * BLOCK_K + k
        read, inside = neighbour_at_tap(voxel, tap, depth, height, width)
        inside = inside & in_image
        if TRANSPOSED:
            label_there = tl.load(labels + read, mask=inside, other=0)
            scale = tl.load(tap_weights + label_there * 27 + 26 - tap, mask=inside, other=0)
        else:
            scale = tl.load(tap_weights + label * 27 + tap, mask=inside, other=0)
        values = tl.load(
            x + read[:, None] * IN + in_channel[None, :], mask=inside[:, None] & (in_channel < IN)[None, :], other=0
        )
        kernel = tl.load(
            weight + (tap * IN + in_channel)[:, None] * OUT + channel[None, :],
            mask=(in_channel < IN)[:, None] & (channel < OUT)[None, :],
            other=0,
        )
        scaled = (values * scale[:, None]).to(x.dtype.element_ty)
        result = tl.dot(scaled, kernel, result, input_precision=PRECISION)
    here = in_image[:, None] & (channel < OUT)[None, :]
    offset = batch * num_voxels * OUT + voxel[:, None] * OUT + channel[None, :]
    if not TRANSPOSED:
        cluster = batch * num_clusters + label
        result += tl.load(bias + cluster[:, None] * OUT + channel[None, :], mask=here, other=0)
        if KEEPS_SIGNS:
            bits = tl.where(result > 0, tl.full((1, 1), 1, tl.int64) << (channel % BLOCK_OUT)[None, :], 0)
            signs += (batch * tl.num_programs(2) + tl.program_id(2)) * num_voxels + voxel
            tl.store(signs, tl.sum(bits, axis=1), mask=in_image)
        result = tl.where(result > 0, result, result * slope)
        result += tl.load(residual + offset, mask=here, other=0).to(tl.float32)
    tl.store(out + offset, result.to(out.dtype.element_ty), mask=here)


@compiled
def _leaky_relu_gradient_kernel(
    upstream,
    signs,
    out,
    slope,
    num_voxels,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradient of the input of the leaky ReLU from that of its output and the stored signs."""
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    inside = (voxel < num_voxels)[:, None] & (channel < CHANNELS)[None, :]
    offset = (batch * num_voxels + voxel[:, None]) * CHANNELS + channel[None, :]
    out_blocks: tl.constexpr = (CHANNELS + BLOCK_OUT - 1) // BLOCK_OUT
    place = (batch * out_blocks + channel[None, :] // BLOCK_OUT) * num_voxels + voxel[:, None]
    positive = (tl.load(signs + place, mask=inside, other=0) >> (channel % BLOCK_OUT)[None, :]) & 1
    gradient = tl.load(upstream + offset, mask=inside, other=0).to(tl.float32)
    tl.store(out + offset, tl.where(positive == 1, gradient, gradient * slope).to(out.dtype.element_ty), mask=inside)


def _launch(
    x: torch.Tensor,
    weight: torch.Tensor,
    tap_weights: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    residual: torch.Tensor | None,
    out: torch.Tensor,
    signs: torch.Tensor | None,
) -> None:
    """Convolve with the weight (27, C_in, C_out), or compute the gradient of the input if `residual` is None."""
    batch, in_channels, depth, height, width = x.shape
    out_channels = out.shape[1]
    tiling = AdaptiveTiling.of(in_channels, out_channels)
    block = block_size(64)
    _adaptive_residual_conv3d_kernel[(cdiv(depth * height * width, block), batch, tiling.out_blocks)](
        x,
        weight,
        tap_weights,
        bias,
        labels,
        residual,
        out,
        signs,
        NEGATIVE_SLOPE,
        depth,
        height,
        width,
        tap_weights.shape[1],
        in_channels,
        out_channels,
        tiling.block_k,
        tiling.block_out,
        residual is None,
        signs is not None,
        dot_precision(),
        block,
        num_warps=2,
        num_stages=2,
    )


def _leaky_relu_gradient(upstream: torch.Tensor, signs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the input of the leaky ReLU, in the dtype of the convolution's input."""
    batch, channels = upstream.shape[:2]
    out = torch.empty_like(upstream, dtype=x.dtype)
    num_voxels = upstream.shape[2:].numel()
    block_c = next_power_of_2(channels)
    block = max(1, block_size(2048) // block_c)
    _leaky_relu_gradient_kernel[(cdiv(num_voxels, block), batch)](
        upstream,
        signs,
        out,
        NEGATIVE_SLOPE,
        num_voxels,
        channels,
        block_c,
        AdaptiveTiling.of(x.shape[1], channels).block_out,
        block,
    )
    return out


class AdaptiveResidualConv3d(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.adaptive_residual_conv3d`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        tap_weights: torch.Tensor,
        bias: torch.Tensor,
        labels: torch.Tensor,
        residual: torch.Tensor,
        has_backward: bool,
    ) -> torch.Tensor:
        """Convolve; for a backward pass, save the inputs and the signs of the input of the leaky ReLU."""
        x, residual = channels_last(x), channels_last(residual)
        tap_weights, labels = tap_weights.float().contiguous(), labels.contiguous()
        out = torch.empty_like(residual, dtype=torch.promote_types(x.dtype, residual.dtype))
        tiling = AdaptiveTiling.of(x.shape[1], out.shape[1])
        signs = None
        if has_backward:
            signs = x.new_empty((len(x), tiling.out_blocks, *x.shape[2:]), dtype=torch.int64)
        _launch(x, tap_by_tap(weight, x.dtype), tap_weights, bias.float().contiguous(), labels, residual, out, signs)
        ctx.save_for_backward(x, weight, tap_weights, labels, signs)
        ctx.residual_dtype = residual.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of all inputs except the labels."""
        x, weight, tap_weights, labels, signs = ctx.saved_tensors
        grad_residual = upstream.to(ctx.residual_dtype) if ctx.needs_input_grad[5] else None
        upstream = _leaky_relu_gradient(channels_last(upstream), signs, x)
        grad_x = grad_weight = grad_taps = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.empty_like(x)
            transposed = tap_by_tap(weight, x.dtype, transposed=True)
            _launch(upstream, transposed, tap_weights, None, labels, None, grad_x, None)
        if ctx.needs_input_grad[1]:
            grad_weight = weight_gradient(x, upstream, tap_weights, labels).to(weight.dtype)
        if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
            grad_taps, grad_bias = cluster_gradients(x, weight, labels, tap_weights.shape[1], upstream)
        return grad_x, grad_weight, grad_taps, grad_bias, None, grad_residual, None
