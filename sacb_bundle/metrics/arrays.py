"""Check and convert the inputs of the metrics: label maps, displacement fields, spacings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

Array: TypeAlias = np.ndarray | torch.Tensor
"""NumPy array or tensor (including MONAI's `MetaTensor`), on any device."""


def as_label_map(values: Array) -> torch.Tensor:
    """Return a label map as an int64 tensor on its own device.

    Args:
        values: label map (D, H, W). Floating-point values, as MONAI's readers give, must be whole numbers.

    Returns:
        Label map (D, H, W) int64.

    Raises:
        ValueError: if the shape is not (D, H, W), or a value is not a whole number, for example after linear
            interpolation of labels.
    """
    labels = _as_tensor(values)
    if labels.ndim != 3:
        raise ValueError(f"a label map must have shape (D, H, W), got {tuple(labels.shape)}")
    if labels.is_floating_point() and not torch.equal(labels, labels.round()):
        raise ValueError("a label map must hold whole numbers; warp it with nearest-neighbour interpolation")
    # Reorientation leaves axes permuted in memory; bucketize would copy such a tensor with a warning.
    return labels.to(torch.int64).contiguous()


def as_label_map_pair(first: Array, second: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Return two label maps on the same grid, converted by `as_label_map`.

    Args:
        first: label map (D, H, W).
        second: label map (D, H, W).

    Returns:
        Two label maps (D, H, W) int64.

    Raises:
        ValueError: as `as_label_map`, or if the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"label maps have different shapes, {tuple(first.shape)} and {tuple(second.shape)}")
    return as_label_map(first), as_label_map(second)


def as_field(values: Array) -> torch.Tensor:
    """Return a displacement field as a detached float32 or float64 tensor.

    Args:
        values: displacement field (3, D, H, W), in voxels.

    Returns:
        Displacement field (3, D, H, W), in voxels, on its own device.

    Raises:
        ValueError: if the shape is not (3, D, H, W) with at least two voxels along each axis, or a value is not
            finite.
    """
    field = _as_tensor(values)
    if field.ndim != 4 or field.shape[0] != 3 or min(field.shape[1:]) < 2:
        raise ValueError(f"a field must have shape (3, D, H, W) with sizes of 2 or more, got {tuple(field.shape)}")
    if not field.isfinite().all():
        raise ValueError("the displacement field holds values that are not finite")
    return field.to(torch.promote_types(field.dtype, torch.float32))


def as_spacing(spacing: Sequence[float]) -> np.ndarray:
    """Return the spacing as an array.

    Args:
        spacing: voxel size along D, H and W, in mm.

    Returns:
        Spacing (3,) float64, in mm.

    Raises:
        ValueError: unless there are three positive finite numbers.
    """
    sizes = np.asarray(spacing, dtype=np.float64)
    if sizes.shape != (3,) or not np.all((sizes > 0) & np.isfinite(sizes)):
        raise ValueError(f"spacing must be three positive numbers in mm, got {spacing}")
    return sizes


def _as_tensor(values: Array) -> torch.Tensor:
    if isinstance(values, torch.Tensor):
        # A MetaTensor would track its metadata through every operation; nothing here needs it.
        return values.detach().as_subclass(torch.Tensor)
    # Arrays from image files may be flipped, read-only or big-endian; torch accepts none of these.
    return torch.from_numpy(np.require(values, values.dtype.newbyteorder("="), ["C", "W"]))
