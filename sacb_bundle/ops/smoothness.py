"""Smoothness of a displacement field."""

from __future__ import annotations

import torch

from .fused import runs_fused


def squared_differences(field: torch.Tensor) -> torch.Tensor:
    """Return the mean squared forward difference of a displacement field, averaged over the three axes.

    `monai.losses.DiffusionLoss` uses central differences; smoothness weights do not transfer from one to the other.

    Args:
        field: displacement field (B, 3, D, H, W), in voxels.

    Returns:
        Scalar, in squared voxels.

    Source: the regularisation of Cheng et al., CVPR 2025, which is weighted by lambda and added to the NCC loss.

    Example:
        >>> import torch
        >>> field = torch.zeros(1, 3, 4, 4, 4)
        >>> field[:, 0] = 3 * torch.arange(4.0).reshape(4, 1, 1)
        >>> squared_differences(field).item()
        1.0
    """
    if runs_fused(field):
        from .triton.smoothness import SquaredDifferences

        with torch.cuda.device_of(field):
            return SquaredDifferences.apply(field)
    field = field.float()
    differences = [field.diff(dim=axis) for axis in (2, 3, 4)]
    # An axis of one voxel has no differences.
    return torch.stack([along.square().sum() / max(along.numel(), 1) for along in differences]).mean()
