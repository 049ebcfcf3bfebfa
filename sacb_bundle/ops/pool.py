"""Average pooling."""

from __future__ import annotations

import torch

from .fused import runs_fused


def halve(x: torch.Tensor) -> torch.Tensor:
    """Average each block of 2x2x2 voxels.

    The averages are taken along one axis after the other. This keeps the memory layout and, with the channels last,
    is much faster on the CPU than `torch.nn.functional.avg_pool3d`.

    Args:
        x: features (B, C, D, H, W) with even sizes.

    Returns:
        Features (B, C, D/2, H/2, W/2).

    Raises:
        ValueError: if a size is odd.

    Example:
        >>> import torch
        >>> halve(torch.arange(8.0).reshape(1, 1, 2, 2, 2)).item()
        3.5
    """
    if any(size % 2 for size in x.shape[2:]):
        raise ValueError(f"The input is {tuple(x.shape)}; D, H and W must be even.")
    if runs_fused(x):
        from .triton.pool import Halve

        with torch.cuda.device_of(x):
            return Halve.apply(x)
    for axis in (2, 3, 4):
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        x = even + odd
    return x / 8
