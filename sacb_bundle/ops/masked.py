"""The part of a pair that its masks show."""

from __future__ import annotations

import torch

from .warp import warp


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of values within a mask.

    Args:
        values: values (B, C, D, H, W).
        mask: weights (B, 1, D, H, W) of the voxels; None to count all alike.

    Returns:
        Scalar; 0 if no voxel counts.
    """
    if mask is None:
        return values.mean()
    return (values.mean(dim=1, keepdim=True) * mask).sum() / mask.sum().clamp(min=torch.finfo(mask.dtype).tiny)


def common_mask(masks: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Return where a fixed image and a warped moving image both count.

    Args:
        masks: masks (B, 2, D, H, W) of the moving and the fixed image, 0 where an image does not count.
        field: displacement field (B, 3, D, H, W), in voxels. It gets no gradient: it must not lower a loss by choosing
            what counts.

    Returns:
        Weights (B, 1, D, H, W) of the voxels of the fixed image.
    """
    moving_mask, fixed_mask = masks.float().split(1, dim=1)
    return fixed_mask * warp(moving_mask, field.detach())
