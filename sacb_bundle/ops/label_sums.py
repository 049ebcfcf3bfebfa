"""Sums over the labels of a warped label map, without an image for each label."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .fused import runs_fused
from .warp import voxel_index

# Weights are summed in integer multiples of a small unit: such a sum does not depend on the order of its parts, so a
# GPU repeats it to the byte. 63 bits hold the sum over 2^33 voxels.
UNITS = 2.0**30
# Number of sums of each label, which are added up at the end: threads of a GPU that add to one number wait in line.
LANES = 1024


def warped_label_sums(
    moving: torch.Tensor, fixed: torch.Tensor, field: torch.Tensor, num_labels: int, mask: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum the warped label maps of single labels, and their products with those of the fixed image.

    The warped map of a label is what `warp` makes of the image that is 1 in the label and 0 elsewhere: at each voxel,
    the trilinear weight of the neighbours that have the label. Each weight is added to the sum of its neighbour's
    label, so memory hardly depends on the number of labels.

    Args:
        moving: label (B, D, H, W) int64 of each voxel of the moving image, from 0 to `num_labels` - 1.
        fixed: label of each voxel of the fixed image, likewise.
        field: displacement field (B, 3, D, H, W), in voxels.
        num_labels: number of labels.
        mask: weights (B, D, H, W) of the voxels of the fixed image; by default, all count alike.

    Returns:
        The sum of the warped map of each label, and that of its products with the map of the fixed image, (B,
        num_labels) each. Only the field gets a gradient.

    Example:
        >>> import torch
        >>> labels = torch.tensor([0, 1, 1, 2]).reshape(1, 1, 1, 4)
        >>> field = torch.zeros(1, 3, 1, 1, 4)
        >>> field[:, 2] = 0.5
        >>> for sums in warped_label_sums(labels, labels, field, 3):
        ...     print(sums.tolist())
        [[0.5, 2.0, 1.0]]
        [[0.5, 1.5, 0.5]]
    """
    # NaN if the field is not finite: integers, which hold the sums, have no NaN.
    undefined = 0 * field.detach().sum()
    if runs_fused(field):
        from .triton.label_sums import WarpedLabelSums

        with torch.cuda.device_of(field):
            whole, shared = WarpedLabelSums.apply(field, moving, fixed, mask, num_labels)
        return whole + undefined, shared + undefined
    voxels, goals = moving.flatten(1), fixed.flatten(1)
    whole = shared = undefined
    field = field.nan_to_num(posinf=0, neginf=0)
    for places, weights in _corners(field):
        counted = (weights if mask is None else weights * mask).flatten(1)
        labels = voxels.gather(1, places.flatten(1))
        whole = whole + _LabelSums.apply(counted, labels, num_labels)
        shared = shared + _LabelSums.apply(counted * (labels == goals), labels, num_labels)
    return whole, shared


def label_sums(labels: torch.Tensor, num_labels: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Sum the voxels of each label.

    Args:
        labels: label (B, D, H, W) int64 of each voxel, from 0 to `num_labels` - 1.
        num_labels: number of labels.
        mask: weights (B, D, H, W) of the voxels; by default, all count 1.

    Returns:
        The sums (B, num_labels), fp32.
    """
    weights = torch.ones_like(labels, dtype=torch.float32) if mask is None else mask
    sums: torch.Tensor = _LabelSums.apply(weights.flatten(1), labels.flatten(1), num_labels)
    return sums


def _corners(field: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the eight neighbours of each position v + field(v): flat voxel indices and trilinear weights (B, D, H, W).

    A neighbour outside the image has the weight 0.
    """
    sides = []
    for axis, size in enumerate(field.shape[2:]):
        position = voxel_index(field, axis) + field[:, axis].float()
        lower = position.detach().floor()
        share = position - lower
        sides.append(
            [
                (place.clamp(0, size - 1).long(), weight * ((place >= 0) & (place < size)))
                for place, weight in ((lower, 1 - share), (lower + 1, share))
            ]
        )
    _, height, width = field.shape[2:]
    for (d, weight_d), (h, weight_h), (w, weight_w) in product(*sides):
        yield (d * height + h) * width + w, weight_d * weight_h * weight_w


class _LabelSums(torch.autograd.Function):
    """Sum of the weights (B, N) of each of a number of labels (B, N), to (B, labels)."""

    @staticmethod
    def forward(ctx: Any, weights: torch.Tensor, labels: torch.Tensor, num_labels: int) -> torch.Tensor:
        ctx.save_for_backward(labels)
        sums = torch.zeros(len(weights), num_labels * LANES, dtype=torch.int64, device=weights.device)
        lanes = torch.arange(labels.shape[1], device=labels.device) % LANES
        sums.scatter_add_(1, labels * LANES + lanes, (weights * UNITS).round().long())
        return sums.unflatten(1, (num_labels, LANES)).sum(dim=2).to(weights.dtype) / UNITS

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (labels,) = ctx.saved_tensors
        return upstream.gather(1, labels), None, None
