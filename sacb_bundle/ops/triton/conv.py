"""3x3x3 convolution of feature maps with few channels.

A program computes a block of voxels in `PLANES` adjacent planes by matrix products: rows are voxels, columns are
(plane, output channel), and the sum runs over input channels. The planes share the input that they read. The weights
are laid out accordingly, with zeros for each row of input that a plane does not use. The three taps along W are summed
separately and shifted against each other at the end, so that each row of input is read once instead of three times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .conv_weight import conv3d_weight_gradient
from .tiles import block_size, cdiv, channels_last, compiled, dot_precision, empty_channels_last, next_power_of_2


@dataclass(frozen=True)
class ConvTiling:
    """Tile sizes of a convolution, which are compile-time constants of the kernel.

    Attributes:
        in_channels: number of input channels.
        out_channels: number of output channels.
        planes: number of adjacent planes per program.
        rows: number of rows of input per matrix product; more than one if they have few channels.
        block_in: number of input channels per matrix product, a power of two.
        block_out: number of output channels per program, a power of two.
    """

    in_channels: int
    out_channels: int
    planes: int
    rows: int
    block_in: int
    block_out: int

    @classmethod
    def of(cls, in_channels: int, out_channels: int) -> ConvTiling:
        """Return the tiling for a number of channels. A matrix product has at least 16 rows and columns of weights.

        Args:
            in_channels: number of input channels.
            out_channels: number of output channels.

        Returns:
            The tiling, with blocks of at most 32 channels and at most 4 planes.
        """
        block_in, block_out = (min(next_power_of_2(channels), 32) for channels in (in_channels, out_channels))
        planes = max(1, min(4, 16 // block_out))
        return cls(in_channels, out_channels, planes, max(1, 16 // block_in), block_in, max(block_out, 16 // planes))

    @property
    def chunks(self) -> int:
        """Number of blocks of input channels."""
        return cdiv(self.in_channels, self.block_in)

    @property
    def out_blocks(self) -> int:
        """Number of programs that share the output channels of a block of voxels."""
        return cdiv(self.out_channels, self.block_out)

    @property
    def steps(self) -> int:
        """Number of matrix products per tap along W."""
        return cdiv((self.planes + 2) * 3, self.rows) * self.chunks

    @property
    def columns(self) -> int:
        """Number of columns (plane, output channel) of the result."""
        return self.planes * self.block_out


@compiled
def _lay_out_weight_kernel(
    weight,
    laid_out,
    total,
    in_channels,
    out_channels,
    planes,
    rows,
    block_in,
    block_out,
    chunks,
    groups,
    TRANSPOSED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write [out block, group of rows, chunk, tap along W, (row, input channel), (plane, output channel)]."""
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    out_channel, rest = index % block_out, index // block_out
    plane, rest = rest % planes, rest // planes
    in_channel, rest = rest % block_in, rest // block_in
    row, rest = rest % rows, rest // rows
    tap_w, rest = rest % 3, rest // 3
    in_channel, rest = in_channel + rest % chunks * block_in, rest // chunks
    row, rest = row + rest % groups * rows, rest // groups
    out_channel += rest * block_out
    tap_d, tap_h = row // 3 - plane, row % 3
    inside = (index < total) & (in_channel < in_channels) & (out_channel < out_channels)
    inside = inside & (tap_d >= 0) & (tap_d < 3)
    tap = tap_d * 9 + tap_h * 3 + tap_w
    if TRANSPOSED:
        source = (in_channel * out_channels + out_channel) * 27 + 26 - tap
    else:
        source = (out_channel * in_channels + in_channel) * 27 + tap
    tl.store(laid_out + index, tl.load(weight + source, mask=inside, other=0), mask=index < total)


def _lay_out_weight(weight: torch.Tensor, tiling: ConvTiling, dtype: torch.dtype, transposed: bool) -> torch.Tensor:
    """Return the weight (C_out, C_in, 3, 3, 3), or its transpose, in the layout that `_conv3d_kernel` reads."""
    size = tiling.out_blocks * tiling.steps * 3 * tiling.rows * tiling.block_in * tiling.columns
    laid_out = torch.empty(size, dtype=dtype, device=weight.device)
    block = block_size(1024)
    _lay_out_weight_kernel[(cdiv(size, block),)](
        weight.contiguous(),
        laid_out,
        size,
        tiling.in_channels,
        tiling.out_channels,
        tiling.planes,
        tiling.rows,
        tiling.block_in,
        tiling.block_out,
        tiling.chunks,
        tiling.steps // tiling.chunks,
        transposed,
        block,
    )
    return laid_out


@compiled
def _conv3d_kernel(
    x,
    weight,
    bias,
    out,
    moments,
    depth,
    height,
    width,
    IN: tl.constexpr,
    OUT: tl.constexpr,
    PLANES: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    CHUNKS: tl.constexpr,
    STEPS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ADDS: tl.constexpr,
    HAS_MOMENTS: tl.constexpr,
    PLANAR: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the output of a block of voxels in `PLANES` planes, and optionally its mean and squared deviation."""
    COLUMNS: tl.constexpr = PLANES * BLOCK_OUT
    TAP_SIZE: tl.constexpr = ROWS * BLOCK_IN * COLUMNS
    out_blocks = (OUT + BLOCK_OUT - 1) // BLOCK_OUT
    batch = (tl.program_id(2) // out_blocks).to(tl.int64)
    out_block = tl.program_id(2) % out_blocks
    first_plane = tl.program_id(1) * PLANES
    area = height * width
    # One extra voxel on either side: the neighbours along W.
    position = tl.arange(0, BLOCK)
    place = tl.program_id(0) * (BLOCK - 2) - 1 + position
    in_plane = (place >= 0) & (place < area)
    h, w = place // width, place % width
    x += batch * depth * area * IN

    k = tl.arange(0, ROWS * BLOCK_IN)
    n = tl.arange(0, COLUMNS)
    weight += out_block * STEPS * 3 * TAP_SIZE
    weight += k[:, None] * COLUMNS + n[None, :]
    left = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    middle = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    right = tl.zeros((BLOCK, COLUMNS), dtype=tl.float32)
    for step in range(STEPS):
        channel = step % CHUNKS * BLOCK_IN + k % BLOCK_IN
        row = step // CHUNKS * ROWS + k // BLOCK_IN
        plane, shift_h = first_plane + row // 3 - 1, row % 3 - 1
        exists = (row < 3 * PLANES + 6) & (plane >= 0) & (plane < depth) & (channel < IN)
        h_read = h[:, None] + shift_h[None, :]
        values = tl.load(
            x + place[:, None] * IN + ((plane * area + shift_h * width) * IN + channel)[None, :],
            mask=in_plane[:, None] & (h_read >= 0) & (h_read < height) & exists[None, :],
            other=0,
        )
        taps = weight + step * 3 * TAP_SIZE
        left = tl.dot(values, tl.load(taps), left, input_precision=PRECISION)
        middle = tl.dot(values, tl.load(taps + TAP_SIZE), middle, input_precision=PRECISION)
        right = tl.dot(values, tl.load(taps + 2 * TAP_SIZE), right, input_precision=PRECISION)
    before = tl.broadcast_to(tl.maximum(position - 1, 0)[:, None], (BLOCK, COLUMNS))
    after = tl.broadcast_to(tl.minimum(position + 1, BLOCK - 1)[:, None], (BLOCK, COLUMNS))
    result = middle + tl.where((w > 0)[:, None], tl.gather(left, before, axis=0), 0)
    result += tl.where((w < width - 1)[:, None], tl.gather(right, after, axis=0), 0)

    plane, channel = first_plane + n // BLOCK_OUT, out_block * BLOCK_OUT + n % BLOCK_OUT
    if HAS_BIAS:
        result += tl.load(bias + channel, mask=channel < OUT, other=0)[None, :]
    computed = in_plane & (position > 0) & (position < BLOCK - 1)
    inside = computed[:, None] & ((plane < depth) & (channel < OUT))[None, :]
    voxel = (plane * area)[None, :] + place[:, None]
    out += batch * depth * area * OUT
    if PLANAR:
        out += voxel + channel[None, :].to(tl.int64) * (depth * area)
    else:
        out += voxel.to(tl.int64) * OUT + channel[None, :]
    if ADDS:
        result += tl.load(out, mask=inside, other=0).to(tl.float32)
    tl.store(out, result.to(out.dtype.element_ty), mask=inside)
    if HAS_MOMENTS:
        count = tl.sum(computed.to(tl.float32)) * tl.minimum(PLANES, depth - first_plane)
        mean = tl.sum(tl.sum(tl.where(inside, result, 0), axis=0).reshape(PLANES, BLOCK_OUT), axis=0) / count
        spread = tl.broadcast_to(mean[None, :], (PLANES, BLOCK_OUT)).reshape(COLUMNS)
        deviation = tl.where(inside, result - spread[None, :], 0)
        squared = tl.sum(tl.sum(deviation * deviation, axis=0).reshape(PLANES, BLOCK_OUT), axis=0)
        num_programs = tl.num_programs(0) * tl.num_programs(1)
        program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
        channel = out_block * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
        moments += (batch * OUT + channel) * 3 * num_programs + program
        tl.store(moments, tl.zeros_like(mean) + count, mask=channel < OUT)
        tl.store(moments + num_programs, mean, mask=channel < OUT)
        tl.store(moments + 2 * num_programs, squared, mask=channel < OUT)


def conv3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    transposed: bool = False,
    moments: bool = False,
    planar: bool = False,
    addend: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply a zero-padded 3x3x3 convolution, or compute the gradient of its input.

    Args:
        x: input (B, C_in, D, H, W); for the gradient of the input, the gradient of the output.
        weight: kernel (C_out, C_in, 3, 3, 3).
        bias: bias (C_out,).
        transposed: compute the gradient of the input, with C_in channels.
        moments: return count, mean and sum of squared deviations of blocks of the output.
        planar: store the result channel by channel.
        addend: earlier result, to which this one is added in place.

    Returns:
        Result (B, C_out, D, H, W), and moments (B, C_out, 3, programs), empty unless requested.
    """
    x = channels_last(x)
    batch, in_channels, depth, height, width = x.shape
    out_channels = weight.shape[1] if transposed else weight.shape[0]
    tiling = ConvTiling.of(in_channels, out_channels)
    shape = (batch, out_channels, depth, height, width)
    out = addend
    if out is None:
        out = x.new_empty(shape) if planar else empty_channels_last(shape, x)
    block = block_size(128 if height * width >= 4096 else 64)
    grid = (cdiv(height * width, block - 2), cdiv(depth, tiling.planes), batch * tiling.out_blocks)
    programs = grid[0] * grid[1] if moments else 0
    partial = x.new_empty((batch, out_channels, 3, programs), dtype=torch.float32)
    _conv3d_kernel[grid](
        x,
        _lay_out_weight(weight, tiling, x.dtype, transposed),
        None if bias is None else bias.contiguous(),
        out,
        partial,
        depth,
        height,
        width,
        in_channels,
        out_channels,
        tiling.planes,
        tiling.rows,
        tiling.block_in,
        tiling.block_out,
        tiling.chunks,
        tiling.steps,
        bias is not None,
        addend is not None,
        moments,
        planar,
        dot_precision(),
        block,
        num_warps=2,
        num_stages=3,
    )
    return out, partial


class Conv3d(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.conv3d`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Convolve, and store the result channel by channel."""
        x = channels_last(x)
        ctx.save_for_backward(x, weight)
        return conv3d(x, weight, bias, planar=True)[0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        x, weight = ctx.saved_tensors
        grad_bias = upstream.float().sum(dim=(0, 2, 3, 4)).to(weight.dtype) if ctx.needs_input_grad[2] else None
        upstream = channels_last(upstream)
        grad_x = conv3d(upstream, weight, transposed=True)[0] if ctx.needs_input_grad[0] else None
        grad_weight = conv3d_weight_gradient(x, upstream).to(weight.dtype) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weight, grad_bias
