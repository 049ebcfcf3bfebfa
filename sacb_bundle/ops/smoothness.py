"""Smoothness of a displacement field."""

from __future__ import annotations

import torch

from .fused import runs_fused


def squared_differences(field: torch.Tensor) -> torch.Tensor:
    """Mean squared forward difference of a field, averaged over the three axes.

    `monai.losses.DiffusionLoss` takes central differences; weights of one do not transfer to the other.

    Args:
        field: (B, 3, D, H, W), in voxels.

    Returns:
        scalar, in squared voxels.

    Source: the regularisation of Cheng et al., CVPR 2025: lambda times this is added to the NCC.
    """
    if runs_fused(field):
        from .triton.smoothness import SquaredDifferences

        with torch.cuda.device_of(field):
            return SquaredDifferences.apply(field)
    field = field.float()
    differences = [field.diff(dim=axis) for axis in (2, 3, 4)]
    # An axis of one voxel has no differences.
    return torch.stack([along.square().sum() / max(along.numel(), 1) for along in differences]).mean()
