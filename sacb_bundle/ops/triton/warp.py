"""Linear sampling of an image at displaced voxels.

Many voxels may sample the same one, so the gradient of the image is a sum across programs in no fixed order. It is
accumulated in integer multiples of a small unit: unlike a sum of floating-point numbers, an integer sum does not depend
on the order, so training is reproducible.
"""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, channels_last, compiled, next_power_of_2


@compiled
def displaced(field, voxel, inside, depth, height, width):
    """Return the position, in voxels, at which each voxel samples the image.

    Args:
        field: displacement field (3, D, H, W), in voxels.
        voxel: indices of voxels in the flat image.
        inside: mask of the indices that lie in the image.
        depth: D, number of voxels along the first axis.
        height: H, number of voxels along the second axis.
        width: W, number of voxels along the third axis.

    Returns:
        Positions along D, H and W.
    """
    num_voxels = depth * height * width
    d = (voxel // (height * width)).to(tl.float32) + tl.load(field + voxel, mask=inside, other=0)
    h = (voxel // width % height).to(tl.float32) + tl.load(field + num_voxels + voxel, mask=inside, other=0)
    w = (voxel % width).to(tl.float32) + tl.load(field + 2 * num_voxels + voxel, mask=inside, other=0)
    return d, h, w


@compiled
def corner_weight(position, side: tl.constexpr, size):
    """Return a lower (0) or upper (1) neighbour of positions along one axis.

    Args:
        position: positions, in voxels.
        side: 0 for the lower neighbour, 1 for the upper one.
        size: number of voxels along the axis.

    Returns:
        Its index (0 outside the image), its linear weight (0 outside), the slope of the weight, and a mask of those
        that lie in the image.
    """
    lower = tl.floor(position)
    index = lower + side
    exists = (index >= 0) & (index <= size - 1)
    if side == 0:
        weight, slope = 1 - (position - lower), -1.0
    else:
        weight, slope = position - lower, 1.0
    return tl.where(exists, index, 0).to(tl.int32), tl.where(exists, weight, 0), slope, exists


@compiled
def _offset_of(voxel, channel, num_voxels, CHANNELS: tl.constexpr, LAST: tl.constexpr):
    """Return the memory offset of each voxel's channels: channels last, or one channel after another."""
    if LAST:
        return voxel[:, None] * CHANNELS + channel[None, :]
    else:
        return channel[None, :] * num_voxels + voxel[:, None]


@compiled
def _warp_kernel(
    image,
    field,
    out,
    depth,
    height,
    width,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
    LAST: tl.constexpr,
    ADDS_FIELD: tl.constexpr,
):
    """Sample all channels at a block of voxels; with `ADDS_FIELD`, add the field, as composition does."""
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    in_image, in_channels = voxel < num_voxels, channel < CHANNELS
    image += batch * num_voxels * CHANNELS
    field += batch * num_voxels * 3
    d, h, w = displaced(field, voxel, in_image, depth, height, width)
    result = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for side_d in tl.static_range(2):
        index_d, weight_d, _, exists_d = corner_weight(d, side_d, depth)
        for side_h in tl.static_range(2):
            index_h, weight_h, _, exists_h = corner_weight(h, side_h, height)
            for side_w in tl.static_range(2):
                index_w, weight_w, _, exists_w = corner_weight(w, side_w, width)
                corner = (index_d * height + index_h) * width + index_w
                exists = in_image & exists_d & exists_h & exists_w
                values = tl.load(
                    image + _offset_of(corner, channel, num_voxels, CHANNELS, LAST),
                    mask=exists[:, None] & in_channels[None, :],
                    other=0,
                ).to(tl.float32)
                result += values * (weight_d * weight_h * weight_w)[:, None]
    here = in_image[:, None] & in_channels[None, :]
    if ADDS_FIELD:
        result += tl.load(field + channel[None, :] * num_voxels + voxel[:, None], mask=here, other=0)
    out += batch * num_voxels * CHANNELS
    offset = _offset_of(voxel, channel, num_voxels, CHANNELS, LAST)
    tl.store(out + offset, result.to(out.dtype.element_ty), mask=here)


@compiled
def _warp_gradient_kernel(
    image,
    field,
    upstream,
    grad_image,
    grad_field,
    units,
    depth,
    height,
    width,
    CHANNELS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK: tl.constexpr,
    LAST: tl.constexpr,
    ADDS_FIELD: tl.constexpr,
    TO_IMAGE: tl.constexpr,
    TO_FIELD: tl.constexpr,
):
    """Compute the gradients of the image, in units of 1 / `units`, and of the field."""
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    in_image, in_channels = voxel < num_voxels, channel < CHANNELS
    here = in_image[:, None] & in_channels[None, :]
    image += batch * num_voxels * CHANNELS
    upstream += batch * num_voxels * CHANNELS
    field += batch * num_voxels * 3
    d, h, w = displaced(field, voxel, in_image, depth, height, width)
    gradient = tl.load(upstream + _offset_of(voxel, channel, num_voxels, CHANNELS, LAST), mask=here, other=0).to(
        tl.float32
    )
    to_d = tl.zeros((BLOCK,), dtype=tl.float32)
    to_h, to_w = to_d, to_d
    if TO_IMAGE:
        grad_image += batch * num_voxels * CHANNELS
        unit = tl.load(units + batch)
    for side_d in tl.static_range(2):
        index_d, weight_d, slope_d, exists_d = corner_weight(d, side_d, depth)
        for side_h in tl.static_range(2):
            index_h, weight_h, slope_h, exists_h = corner_weight(h, side_h, height)
            for side_w in tl.static_range(2):
                index_w, weight_w, slope_w, exists_w = corner_weight(w, side_w, width)
                corner = (index_d * height + index_h) * width + index_w
                exists = (in_image & exists_d & exists_h & exists_w)[:, None] & in_channels[None, :]
                offset = _offset_of(corner, channel, num_voxels, CHANNELS, LAST)
                if TO_FIELD:
                    values = tl.load(image + offset, mask=exists, other=0).to(tl.float32)
                    product = tl.sum(values * gradient, axis=1)
                    to_d += product * slope_d * weight_h * weight_w
                    to_h += product * weight_d * slope_h * weight_w
                    to_w += product * weight_d * weight_h * slope_w
                if TO_IMAGE:
                    share = gradient * (weight_d * weight_h * weight_w)[:, None]
                    whole = tl.floor(share * unit + 0.5).to(tl.int64)
                    tl.atomic_add(grad_image + offset, whole, mask=exists, sem="relaxed")
    if TO_FIELD:
        if ADDS_FIELD:
            to_d += tl.load(upstream + voxel, mask=in_image, other=0)
            to_h += tl.load(upstream + num_voxels + voxel, mask=in_image, other=0)
            to_w += tl.load(upstream + 2 * num_voxels + voxel, mask=in_image, other=0)
        grad_field += batch * num_voxels * 3 + voxel
        tl.store(grad_field, to_d, mask=in_image)
        tl.store(grad_field + num_voxels, to_h, mask=in_image)
        tl.store(grad_field + 2 * num_voxels, to_w, mask=in_image)


class Warp(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.warp`, or of `sacb_bundle.ops.compose` if `adds_field`."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, field: torch.Tensor, adds_field: bool) -> torch.Tensor:
        """Sample the image; the result has the memory layout of the image."""
        field = field.float().contiguous()
        if adds_field:
            image = image.float()
        if adds_field or not _is_channels_last(image):
            image = image.contiguous()
        out = torch.empty_like(image)
        ctx.save_for_backward(image, field)
        ctx.adds_field = adds_field
        grid, sizes = _launch_sizes(image)
        _warp_kernel[grid](image, field, out, *sizes, ADDS_FIELD=adds_field)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        """Return the gradients of image and field."""
        image, field = ctx.saved_tensors
        to_image, to_field, _ = ctx.needs_input_grad
        upstream = channels_last(upstream) if _is_channels_last(image) else upstream.contiguous()
        sums = torch.zeros_like(image if to_image else image[:0], dtype=torch.int64)
        # Scale the largest gradient of a batch item so that 64 bits hold its sum over all voxels.
        exponent = min(40, 62 - image.shape[2:].numel().bit_length())
        largest = torch.linalg.vector_norm(upstream, float("inf"), dim=(1, 2, 3, 4)).float()
        units = 2.0**exponent / largest.clamp(min=1e-25)
        grad_field = torch.empty_like(field) if to_field else None
        grid, sizes = _launch_sizes(image)
        _warp_gradient_kernel[grid](
            image,
            field,
            upstream,
            sums,
            grad_field,
            units,
            *sizes,
            ADDS_FIELD=ctx.adds_field,
            TO_IMAGE=to_image,
            TO_FIELD=to_field,
        )
        grad_image = (sums / units.reshape(-1, 1, 1, 1, 1)).to(image.dtype) if to_image else None
        return grad_image, grad_field, None


def _is_channels_last(image: torch.Tensor) -> bool:
    """Return whether the channels are last in memory; False for a single channel."""
    return image.shape[1] > 1 and image.is_contiguous(memory_format=torch.channels_last_3d)


def _launch_sizes(image: torch.Tensor) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the launch grid, and the sizes and constants that both kernels take."""
    channels = image.shape[1]
    block_c = next_power_of_2(channels)
    block = block_size(max(1, 1024 // block_c))
    grid = (cdiv(image.shape[2:].numel(), block), image.shape[0])
    return grid, (*image.shape[2:], channels, block_c, block, _is_channels_last(image))
