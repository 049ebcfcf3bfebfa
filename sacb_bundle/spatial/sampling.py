"""Values of an image between its voxels, by ITK's conventions.

An image reaches half a voxel beyond the centres of its outermost voxels, where it goes on as at the border.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F


def sample_linear(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Linear interpolation; beyond the border, the value at the border.

    Args:
        values: (C, D, H, W), floating point.
        index: (3, d, h, w), voxel indices.

    Returns:
        (C, d, h, w).
    """
    sizes = torch.tensor(values.shape[1:], dtype=index.dtype, device=index.device)
    scaled = 2 * index.movedim(0, -1) / (sizes - 1) - 1
    return F.grid_sample(
        values[None], scaled.flip(-1)[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0]


def sample_nearest(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Value of the nearest voxel, the upper one where two are equally near; beyond the border, that at the border.

    Args:
        values: (D, H, W), of any type.
        index: (3, d, h, w), voxel indices.

    Returns:
        (d, h, w).
    """
    return values.reshape(-1)[flat_index((index + 0.5).floor(), values.shape)]


def sample_by_vote(labels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Label with the largest sum of linear weights among the eight neighbours; the first of them in a tie.

    It is what linear interpolation of every label's indicator, and the largest of the results, would give.

    Args:
        labels: (D, H, W).
        index: (3, d, h, w), voxel indices.

    Returns:
        (d, h, w).
    """
    lower = index.floor()
    fraction = index - lower
    neighbours, weights = [], []
    for corner in product((0, 1), repeat=3):
        offset = torch.tensor(corner, dtype=index.dtype, device=index.device).reshape(3, 1, 1, 1)
        neighbours.append(labels.reshape(-1)[flat_index(lower + offset, labels.shape)])
        weights.append(torch.where(offset == 1, fraction, 1 - fraction).prod(dim=0))
    best, most = neighbours[0], torch.zeros_like(weights[0])
    for label in neighbours:
        votes = torch.zeros_like(most)
        for other, weight in zip(neighbours, weights, strict=True):
            votes += weight * (other == label)
        best, most = torch.where(votes > most, label, best), torch.maximum(votes, most)
    return best


def flat_index(index: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Whole indices (3, ...), moved to the border where they lie beyond, as one index into the flat image."""
    d, h, w = (axis.clamp(0, size - 1).long() for axis, size in zip(index, shape, strict=True))
    return (d * shape[1] + h) * shape[2] + w


def is_inside(index: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Whether voxel indices (3, ...) lie within an image of a shape, half a voxel beyond the outermost centres."""
    inside = torch.ones_like(index[0], dtype=torch.bool)
    for axis, size in zip(index, shape, strict=True):
        inside &= (axis >= -0.5) & (axis < size - 0.5)
    return inside
