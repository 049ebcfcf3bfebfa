"""Mean over the part of an image that a mask shows."""

from __future__ import annotations

import torch


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of values within a mask.

    Args:
        values: values (B, C, D, H, W).
        mask: weights (B, 1, D, H, W) of the voxels, of which one at least is above 0; None to count all alike.

    Returns:
        Scalar.
    """
    if mask is None:
        return values.mean()
    return (values.mean(dim=1, keepdim=True) * mask).sum() / mask.sum()
