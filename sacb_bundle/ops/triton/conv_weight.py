"""Weight gradient of a 3x3x3 convolution of feature maps with few channels."""

from __future__ import annotations

import torch
import triton.language as tl

from .tiles import block_size, cdiv, channels_last, compiled, dot_precision, next_power_of_2, num_workers


@compiled
def _conv3d_weight_kernel(
    x,
    gradient,
    out,
    units,
    depth,
    height,
    width,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PLANES: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the gradient of the weight over every num_programs(0)-th unit: a block of voxels in `PLANES` planes.

    Rows of the matrix products are (tap along W, input channel), columns are (tap along D, output channel). There is
    one product per tap along H, and the sum runs over the voxels.
    """
    worker, num_workers = tl.program_id(0), tl.num_programs(0)
    in_blocks = (IN + BLOCK_IN - 1) // BLOCK_IN
    m = tl.arange(0, BLOCK_M)
    tap_w, in_channel = m // BLOCK_IN, tl.program_id(1) % in_blocks * BLOCK_IN + m % BLOCK_IN
    m_inside = (tap_w < 3) & (in_channel < IN)
    n = tl.arange(0, BLOCK_N)
    tap_d, out_channel = n // BLOCK_OUT, tl.program_id(1) // in_blocks * BLOCK_OUT + n % BLOCK_OUT
    n_inside = (tap_d < 3) & (out_channel < OUT)

    area = height * width
    stretches = (area + BLOCK - 1) // BLOCK
    slabs = (depth + PLANES - 1) // PLANES
    upper = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    middle = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    lower = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for unit in range(worker, units, num_workers):
        batch = (unit // (stretches * slabs)).to(tl.int64)
        first_plane = unit // stretches % slabs * PLANES
        place = unit % stretches * BLOCK + tl.arange(0, BLOCK)
        in_plane = place < area
        h = place // width
        w_read = (place % width)[:, None] + tap_w[None, :] - 1
        inside = in_plane[:, None] & (w_read >= 0) & (w_read < width) & m_inside[None, :]
        above, below = inside & (h > 0)[:, None], inside & (h < height - 1)[:, None]
        x_tile = x + (batch * depth * area + place)[:, None] * IN + ((tap_w - 1) * IN + in_channel)[None, :]
        computed = (1 - tap_d)[None, :] * area + place[:, None]
        gradient_tile = gradient + batch * depth * area * OUT + computed * OUT + out_channel[None, :]
        computed_inside = in_plane[:, None] & n_inside[None, :]
        for plane in range(first_plane, tl.minimum(first_plane + PLANES, depth)):
            plane_computed = plane + 1 - tap_d
            exists = computed_inside & ((plane_computed >= 0) & (plane_computed < depth))[None, :]
            upstream = tl.load(gradient_tile + plane * area * OUT, mask=exists, other=0)
            values = tl.load(x_tile + (plane * area - width) * IN, mask=above, other=0)
            upper = tl.dot(tl.trans(values), upstream, upper, input_precision=PRECISION)
            values = tl.load(x_tile + plane * area * IN, mask=inside, other=0)
            middle = tl.dot(tl.trans(values), upstream, middle, input_precision=PRECISION)
            values = tl.load(x_tile + (plane * area + width) * IN, mask=below, other=0)
            lower = tl.dot(tl.trans(values), upstream, lower, input_precision=PRECISION)

    out += ((worker * OUT + out_channel[None, :]) * IN + in_channel[:, None]) * 27
    out += tap_d[None, :] * 9 + tap_w[:, None]
    inside = m_inside[:, None] & n_inside[None, :]
    tl.store(out, upper, mask=inside)
    tl.store(out + 3, middle, mask=inside)
    tl.store(out + 6, lower, mask=inside)


def conv3d_weight_gradient(x: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the weight of `conv3d`, summed over the batch.

    Args:
        x: input (B, C_in, D, H, W).
        gradient: gradient of the output (B, C_out, D, H, W).

    Returns:
        Gradient (C_out, C_in, 3, 3, 3) fp32.
    """
    x, gradient = channels_last(x), channels_last(gradient)
    batch, in_channels, depth, height, width = x.shape
    out_channels = gradient.shape[1]
    block_in, block_out = (min(next_power_of_2(channels), 8) for channels in (in_channels, out_channels))
    blocks = cdiv(in_channels, block_in) * cdiv(out_channels, block_out)
    workers = max(1, num_workers(x.device, 16) // blocks)
    block, planes = block_size(32), 16
    units = batch * cdiv(height * width, block) * cdiv(depth, planes)
    partial = x.new_empty((workers, out_channels, in_channels, 3, 3, 3), dtype=torch.float32)
    _conv3d_weight_kernel[(workers, blocks)](
        x,
        gradient,
        partial,
        units,
        depth,
        height,
        width,
        in_channels,
        out_channels,
        block_in,
        block_out,
        max(16, next_power_of_2(3 * block_in)),
        max(16, next_power_of_2(3 * block_out)),
        planes,
        dot_precision(),
        block,
        num_warps=1,
        num_stages=1,
    )
    return partial.sum(dim=0)
