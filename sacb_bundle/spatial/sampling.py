"""Sample images between voxels, by ITK's conventions.

An image extends half a voxel beyond the centres of its outermost voxels, with the values at the border.
"""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F


def sample_linear(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Interpolate linearly; beyond the border, return the value at the border.

    Args:
        values: floating-point values (C, D, H, W).
        index: voxel indices (3, d, h, w).

    Returns:
        Values (C, d, h, w).
    """
    sizes = torch.tensor(values.shape[1:], dtype=index.dtype, device=index.device)
    scaled = 2 * index.movedim(0, -1) / (sizes - 1) - 1
    return F.grid_sample(
        values[None], scaled.flip(-1)[None], mode="bilinear", padding_mode="border", align_corners=True
    )[0]


def sample_nearest(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the value of the nearest voxel, the upper one of a tie; beyond the border, the value at the border.

    Args:
        values: values (D, H, W) of any type.
        index: voxel indices (3, d, h, w).

    Returns:
        Values (d, h, w).
    """
    return values.reshape(-1)[_flat_index((index + 0.5).floor(), values.shape)]


def sample_by_vote(labels: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return the label with the largest sum of linear weights among the eight neighbours, or the first of a tie.

    The result equals the largest of the linearly interpolated indicators of all labels.

    Args:
        labels: label map (D, H, W).
        index: voxel indices (3, d, h, w).

    Returns:
        Labels (d, h, w).
    """
    lower = index.floor()
    fraction = index - lower
    neighbours, weights = [], []
    for corner in product((0, 1), repeat=3):
        offset = torch.tensor(corner, dtype=index.dtype, device=index.device).reshape(3, 1, 1, 1)
        neighbours.append(labels.reshape(-1)[_flat_index(lower + offset, labels.shape)])
        weights.append(torch.where(offset == 1, fraction, 1 - fraction).prod(dim=0))
    best, most = neighbours[0], torch.zeros_like(weights[0])
    for label in neighbours:
        votes = torch.zeros_like(most)
        for other, weight in zip(neighbours, weights, strict=True):
            votes += weight * (other == label)
        best, most = torch.where(votes > most, label, best), torch.maximum(votes, most)
    return best


def _flat_index(index: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Convert integer indices (3, ...), clamped to the border, to indices into the flat image."""
    d, h, w = (axis.clamp(0, size - 1).long() for axis, size in zip(index, shape, strict=True))
    return (d * shape[1] + h) * shape[2] + w


def is_inside(index: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
    """Return whether voxel indices are within an image, up to half a voxel beyond the outermost centres.

    Args:
        index: voxel indices (3, ...).
        shape: shape (D, H, W) of the image.

    Returns:
        Booleans (...), without the first axis of the indices.
    """
    inside = torch.ones_like(index[0], dtype=torch.bool)
    for axis, size in zip(index, shape, strict=True):
        inside &= (axis >= -0.5) & (axis < size - 0.5)
    return inside
