"""Similarity matching as a module."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import match_similarity


class SimilarityMatching(nn.Module):
    """Displacement of up to one voxel that best matches the moving features to the fixed features.

    It has no parameters and accepts any two feature maps of the same shape.

    Example:
        >>> import torch
        >>> SimilarityMatching()(torch.rand(1, 8, 4, 5, 6), torch.rand(1, 8, 4, 5, 6)).shape
        torch.Size([1, 3, 4, 5, 6])
    """

    def forward(self, moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Match two feature maps.

        Args:
            moving: moving features (B, C, D, H, W).
            fixed: fixed features (B, C, D, H, W).

        Returns:
            Displacement field (B, 3, D, H, W), in voxels.
        """
        return match_similarity(moving, fixed)
