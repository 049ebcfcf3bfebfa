"""Checks and conversions of what the metrics take: label maps, displacement fields, spacings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

Array: TypeAlias = np.ndarray | torch.Tensor
"""A numpy array or a tensor (a MONAI ``MetaTensor`` too), on any device."""


def as_label_map(values: Array) -> torch.Tensor:
    """Return a label map as an int64 tensor (D, H, W) on its own device.

    Floating-point values, which MONAI's image readers give, are taken if every one is a whole number.

    Raises:
        ValueError: if the shape is not (D, H, W), or a value is not a whole number, as after a linear
            interpolation of labels.
    """
    labels = _as_tensor(values)
    if labels.ndim != 3:
        raise ValueError(f"a label map has shape (D, H, W), got {tuple(labels.shape)}")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise ValueError("a label map holds whole numbers: warp it with nearest-neighbour interpolation")
    # Reorientation leaves axes permuted in memory, which bucketing would copy with a warning.
    return labels.to(torch.int64).contiguous()


def as_label_map_pair(first: Array, second: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two label maps on one grid, each as by :func:`as_label_map`.

    Raises:
        ValueError: as :func:`as_label_map`, or if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"label maps of different shapes, {tuple(first.shape)} and {tuple(second.shape)}")
    return as_label_map(first), as_label_map(second)


def as_field(values: Array) -> torch.Tensor:
    """Return a displacement field (3, D, H, W), in voxels, as a detached float32 or float64 tensor.

    Raises:
        ValueError: if the shape is not (3, D, H, W) with two voxels or more along each axis, or a value is
            not finite.
    """
    field = _as_tensor(values)
    if field.ndim != 4 or field.shape[0] != 3 or min(field.shape[1:]) < 2:
        raise ValueError(f"a field has shape (3, D, H, W) with axes of 2 or more, got {tuple(field.shape)}")
    if not field.isfinite().all():
        raise ValueError("the displacement field holds values that are not finite")
    return field.to(torch.promote_types(field.dtype, torch.float32))


def as_spacing(spacing: Sequence[float]) -> np.ndarray:
    """Return the voxel size along (D, H, W), in mm, as a float64 array (3,).

    Raises:
        ValueError: if there are not three positive finite numbers.
    """
    sizes = np.asarray(spacing, dtype=np.float64)
    if sizes.shape != (3,) or not np.all((sizes > 0) & np.isfinite(sizes)):
        raise ValueError(f"spacing is three positive numbers in mm, got {spacing}")
    return sizes


def _as_tensor(values: Array) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        # A MetaTensor tracks its metadata through every operation, which nothing here needs.
        return values.detach().as_subclass(torch.Tensor)
    # Arrays read from image files may be flipped, read-only or big-endian, none of which torch takes.
    return torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
