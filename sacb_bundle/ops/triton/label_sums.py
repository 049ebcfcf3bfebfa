"""Sums over the labels of a warped label map: each block of voxels adds up the weights of its labels."""

from __future__ import annotations

from typing import Any

import torch
import triton.language as tl
from torch.autograd.function import once_differentiable

from .tiles import block_size, cdiv, compiled
from .warp import corner_weight, displaced

# Above every label.
NO_LABEL = tl.constexpr(2**31 - 1)


@compiled
def _range_of_labels(moving, d, h, w, in_image, depth, height, width):
    """Return the lowest and the highest label among the neighbours of a block of positions."""
    lowest, highest = NO_LABEL, -1
    for side_d in tl.static_range(2):
        index_d, _, _, exists_d = corner_weight(d, side_d, depth)
        for side_h in tl.static_range(2):
            index_h, _, _, exists_h = corner_weight(h, side_h, height)
            for side_w in tl.static_range(2):
                index_w, _, _, exists_w = corner_weight(w, side_w, width)
                exists = in_image & exists_d & exists_h & exists_w
                corner = (index_d * height + index_h) * width + index_w
                lowest = tl.minimum(lowest, tl.min(tl.load(moving + corner, mask=exists, other=NO_LABEL)))
                highest = tl.maximum(highest, tl.max(tl.load(moving + corner, mask=exists, other=-1)))
    return lowest, highest


@compiled
def _weight_of_label(moving, label, d, h, w, in_image, depth, height, width, BLOCK: tl.constexpr):
    """Return the trilinear weight of the neighbours that have a label."""
    weight = tl.zeros((BLOCK,), dtype=tl.float32)
    for side_d in tl.static_range(2):
        index_d, weight_d, _, exists_d = corner_weight(d, side_d, depth)
        for side_h in tl.static_range(2):
            index_h, weight_h, _, exists_h = corner_weight(h, side_h, height)
            for side_w in tl.static_range(2):
                index_w, weight_w, _, exists_w = corner_weight(w, side_w, width)
                exists = in_image & exists_d & exists_h & exists_w
                corner = (index_d * height + index_h) * width + index_w
                has_label = tl.load(moving + corner, mask=exists, other=-1) == label
                weight += tl.where(has_label, weight_d * weight_h * weight_w, 0)
    return weight


@compiled
def _sums_kernel(
    moving, fixed, field, mask, out, depth, height, width, num_labels, HAS_MASK: tl.constexpr, BLOCK: tl.constexpr
):
    """Add up the weights of each label, and those at voxels of the same label, over a block of voxels."""
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_image = voxel < num_voxels
    moving += batch * num_voxels
    d, h, w = displaced(field + batch * num_voxels * 3, voxel, in_image, depth, height, width)
    goal = tl.load(fixed + batch * num_voxels + voxel, mask=in_image, other=-1)
    out += (batch * tl.num_programs(0) + tl.program_id(0)) * num_labels * 2
    lowest, highest = _range_of_labels(moving, d, h, w, in_image, depth, height, width)
    for label in range(lowest, highest + 1):
        weight = _weight_of_label(moving, label, d, h, w, in_image, depth, height, width, BLOCK)
        if HAS_MASK:
            weight *= tl.load(mask + batch * num_voxels + voxel, mask=in_image, other=0)
        tl.store(out + label, tl.sum(weight))
        tl.store(out + num_labels + label, tl.sum(tl.where(goal == label, weight, 0)))


@compiled
def _gradient_kernel(
    moving,
    fixed,
    field,
    mask,
    upstream,
    grad_field,
    depth,
    height,
    width,
    num_labels,
    HAS_MASK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Compute the gradient of the field: that of sampling the upstream gradients of the neighbours' labels."""
    num_voxels = depth * height * width
    batch = tl.program_id(1).to(tl.int64)
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    in_image = voxel < num_voxels
    moving += batch * num_voxels
    upstream += batch * num_labels * 2
    d, h, w = displaced(field + batch * num_voxels * 3, voxel, in_image, depth, height, width)
    goal = tl.load(fixed + batch * num_voxels + voxel, mask=in_image, other=-1)
    to_d = tl.zeros((BLOCK,), dtype=tl.float32)
    to_h, to_w = to_d, to_d
    for side_d in tl.static_range(2):
        index_d, weight_d, slope_d, exists_d = corner_weight(d, side_d, depth)
        for side_h in tl.static_range(2):
            index_h, weight_h, slope_h, exists_h = corner_weight(h, side_h, height)
            for side_w in tl.static_range(2):
                index_w, weight_w, slope_w, exists_w = corner_weight(w, side_w, width)
                exists = in_image & exists_d & exists_h & exists_w
                corner = (index_d * height + index_h) * width + index_w
                label = tl.load(moving + corner, mask=exists, other=0)
                value = tl.load(upstream + label, mask=exists, other=0)
                value += tl.load(upstream + num_labels + label, mask=exists & (label == goal), other=0)
                to_d += value * slope_d * weight_h * weight_w
                to_h += value * weight_d * slope_h * weight_w
                to_w += value * weight_d * weight_h * slope_w
    if HAS_MASK:
        counts = tl.load(mask + batch * num_voxels + voxel, mask=in_image, other=0)
        to_d, to_h, to_w = to_d * counts, to_h * counts, to_w * counts
    grad_field += batch * num_voxels * 3 + voxel
    tl.store(grad_field, to_d, mask=in_image)
    tl.store(grad_field + num_voxels, to_h, mask=in_image)
    tl.store(grad_field + 2 * num_voxels, to_w, mask=in_image)


class WarpedLabelSums(torch.autograd.Function):
    """Autograd function of `sacb_bundle.ops.warped_label_sums`."""

    @staticmethod
    def forward(
        ctx: Any,
        field: torch.Tensor,
        moving: torch.Tensor,
        fixed: torch.Tensor,
        mask: torch.Tensor | None,
        num_labels: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both sums of each label (B, labels); save the inputs, with the label maps in 32 bits."""
        field = field.float().contiguous()
        moving, fixed = (labels.to(torch.int32).contiguous() for labels in (moving, fixed))
        mask = None if mask is None else mask.float().contiguous()
        block = block_size(1024)
        blocks = cdiv(moving[0].numel(), block)
        parts = field.new_zeros((len(field), blocks, 2, num_labels))
        _sums_kernel[(blocks, len(field))](
            moving, fixed, field, mask, parts, *moving.shape[1:], num_labels, mask is not None, block
        )
        ctx.save_for_backward(field, moving, fixed, mask)
        whole, shared = parts.sum(dim=1).unbind(dim=1)
        return whole, shared

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_whole: torch.Tensor, to_shared: torch.Tensor
    ) -> tuple[torch.Tensor, None, None, None, None]:
        """Return the gradient of the field."""
        field, moving, fixed, mask = ctx.saved_tensors
        upstream = torch.stack([to_whole, to_shared], dim=1).contiguous()
        gradient, block = torch.empty_like(field), block_size(1024)
        _gradient_kernel[(cdiv(moving[0].numel(), block), len(field))](
            moving,
            fixed,
            field,
            mask,
            upstream,
            gradient,
            *moving.shape[1:],
            upstream.shape[2],
            mask is not None,
            block,
        )
        return gradient, None, None, None, None
