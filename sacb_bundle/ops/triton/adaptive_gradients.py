"""Parameter gradients of the spatial-awareness convolution."""

from __future__ import annotations

import torch
import triton.language as tl

from .adaptive_tiling import AdaptiveTiling, neighbour_at_tap, tap_by_tap
from .tiles import block_size, cdiv, compiled, dot_precision, next_power_of_2, num_workers


@compiled
def _adaptive_weight_kernel(
    x,
    gradient,
    tap_weights,
    labels,
    out,
    units,
    depth,
    height,
    width,
    num_clusters,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the gradient of one tap of the weight over every num_programs(0)-th unit, a block of voxels."""
    worker, num_workers = tl.program_id(0), tl.num_programs(0)
    tap = tl.program_id(1)
    in_blocks = (IN + BLOCK_IN - 1) // BLOCK_IN
    in_channel = tl.program_id(2) % in_blocks * BLOCK_IN + tl.arange(0, BLOCK_IN)
    out_channel = tl.program_id(2) // in_blocks * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    num_voxels = depth * height * width
    stretches = (num_voxels + BLOCK - 1) // BLOCK
    result = tl.zeros((BLOCK_IN, BLOCK_OUT), dtype=tl.float32)
    for unit in range(worker, units, num_workers):
        batch = (unit // stretches).to(tl.int64)
        voxel = unit % stretches * BLOCK + tl.arange(0, BLOCK)
        read, inside = neighbour_at_tap(voxel, tap, depth, height, width)
        inside = inside & (voxel < num_voxels)
        label = tl.load(labels + batch * num_voxels + voxel, mask=inside, other=0)
        scale = tl.load(tap_weights + (batch * num_clusters + label) * 27 + tap, mask=inside, other=0)
        values = tl.load(
            x + (batch * num_voxels + read)[:, None] * IN + in_channel[None, :],
            mask=inside[:, None] & (in_channel < IN)[None, :],
            other=0,
        )
        upstream = tl.load(
            gradient + (batch * num_voxels + voxel)[:, None] * OUT + out_channel[None, :],
            mask=inside[:, None] & (out_channel < OUT)[None, :],
            other=0,
        )
        upstream = (upstream * scale[:, None]).to(gradient.dtype.element_ty)
        result = tl.dot(tl.trans(values), upstream, result, input_precision=PRECISION)
    index = ((worker * OUT + out_channel[None, :]) * IN + in_channel[:, None]) * 27 + tap
    tl.store(out + index, result, mask=(in_channel < IN)[:, None] & (out_channel < OUT)[None, :])


@compiled
def _cluster_gradient_kernel(
    x,
    gradient,
    weight,
    labels,
    grad_taps,
    grad_bias,
    depth,
    height,
    width,
    num_clusters,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the gradients of the tap weights and the bias of all clusters over one worker's voxels and outputs."""
    CHUNKS: tl.constexpr = (IN + BLOCK_K - 1) // BLOCK_K
    batch = tl.program_id(1).to(tl.int64)
    num_voxels = depth * height * width
    x += batch * num_voxels * IN
    gradient += batch * num_voxels * OUT
    labels += batch * num_voxels
    k = tl.arange(0, BLOCK_K)
    channel = tl.program_id(2) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    cluster = tl.arange(0, BLOCK_N)
    tap_column = tl.arange(0, 32)
    to_taps = tl.zeros((BLOCK_N, 32), dtype=tl.float32)
    to_bias = tl.zeros((BLOCK_N, BLOCK_OUT), dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, num_voxels, tl.num_programs(0) * BLOCK):
        voxel = start + tl.arange(0, BLOCK)
        in_image = voxel < num_voxels
        upstream = tl.load(
            gradient + voxel[:, None] * OUT + channel[None, :],
            mask=in_image[:, None] & (channel < OUT)[None, :],
            other=0,
        ).to(tl.float32)
        products = tl.zeros((BLOCK, 32), dtype=tl.float32)
        for step in range(27 * CHUNKS):
            tap = step // CHUNKS
            in_channel = step % CHUNKS * BLOCK_K + k
            read, inside = neighbour_at_tap(voxel, tap, depth, height, width)
            values = tl.load(
                x + read[:, None] * IN + in_channel[None, :],
                mask=(inside & in_image)[:, None] & (in_channel < IN)[None, :],
                other=0,
            )
            kernel = tl.load(
                weight + (tap * IN + in_channel)[:, None] * OUT + channel[None, :],
                mask=(in_channel < IN)[:, None] & (channel < OUT)[None, :],
                other=0,
            )
            unscaled = tl.dot(values, kernel, input_precision=PRECISION)
            product = tl.sum(unscaled * upstream, axis=1)
            products += tl.where(tap_column[None, :] == tap, product[:, None], 0)
        label = tl.load(labels + voxel, mask=in_image, other=-1)
        member = tl.trans((label[:, None] == cluster[None, :]).to(tl.float32))
        to_taps = tl.dot(member, products, to_taps, input_precision="tf32x3")
        to_bias = tl.dot(member, upstream, to_bias, input_precision="tf32x3")
    row = ((batch * tl.num_programs(0) + tl.program_id(0)) * num_clusters + cluster)[:, None]
    tl.store(
        grad_taps + (row * tl.num_programs(2) + tl.program_id(2)) * 27 + tap_column[None, :],
        to_taps,
        mask=(cluster < num_clusters)[:, None] & (tap_column < 27)[None, :],
    )
    tl.store(
        grad_bias + row * OUT + channel[None, :],
        to_bias,
        mask=(cluster < num_clusters)[:, None] & (channel < OUT)[None, :],
    )


def weight_gradient(
    x: torch.Tensor, gradient: torch.Tensor, tap_weights: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return the gradient of the weight, summed over the batch.

    Args:
        x: input of the convolution (B, C_in, D, H, W), channels last.
        gradient: gradient of the convolution's output (B, C_out, D, H, W), channels last.
        tap_weights: scale of each tap per cluster, (B, N, 27).
        labels: cluster of each voxel, (B, D*H*W).

    Returns:
        Gradient (C_out, C_in, 27) fp32.
    """
    batch, in_channels, depth, height, width = x.shape
    out_channels = gradient.shape[1]
    block_in, block_out = (min(max(16, next_power_of_2(c)), 32) for c in (in_channels, out_channels))
    blocks = cdiv(in_channels, block_in) * cdiv(out_channels, block_out)
    workers = max(1, num_workers(x.device, 16) // (27 * blocks))
    block = block_size(64)
    partial = x.new_empty((workers, out_channels, in_channels, 27), dtype=torch.float32)
    _adaptive_weight_kernel[(workers, 27, blocks)](
        x,
        gradient,
        tap_weights,
        labels,
        partial,
        batch * cdiv(depth * height * width, block),
        depth,
        height,
        width,
        tap_weights.shape[1],
        in_channels,
        out_channels,
        block_in,
        block_out,
        dot_precision(),
        block,
        num_warps=1,
        num_stages=1,
    )
    return partial.sum(dim=0)


def cluster_gradients(
    x: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, num_clusters: int, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients of the tap weights and the bias.

    Args:
        x: input of the convolution (B, C_in, D, H, W), channels last.
        weight: shared kernel (C_out, C_in, 27).
        labels: cluster of each voxel, (B, D*H*W).
        num_clusters: number of clusters N.
        gradient: gradient of the convolution's output (B, C_out, D, H, W), channels last.

    Returns:
        Gradients of the tap weights (B, N, 27) and the bias (B, N, C_out), fp32.
    """
    batch, in_channels, depth, height, width = x.shape
    out_channels = gradient.shape[1]
    tiling = AdaptiveTiling.of(in_channels, out_channels)
    workers = max(1, num_workers(x.device, 8) // (batch * tiling.out_blocks))
    to_taps = x.new_empty((batch, workers, num_clusters, tiling.out_blocks, 27), dtype=torch.float32)
    to_bias = x.new_empty((batch, workers, num_clusters, out_channels), dtype=torch.float32)
    _cluster_gradient_kernel[(workers, batch, tiling.out_blocks)](
        x,
        gradient,
        tap_by_tap(weight, x.dtype),
        labels,
        to_taps,
        to_bias,
        depth,
        height,
        width,
        num_clusters,
        in_channels,
        out_channels,
        tiling.block_k,
        tiling.block_out,
        max(16, next_power_of_2(num_clusters)),
        dot_precision(),
        block_size(64),
        num_warps=2,
        num_stages=1,
    )
    return to_taps.sum(dim=(1, 3)), to_bias.sum(dim=1)
