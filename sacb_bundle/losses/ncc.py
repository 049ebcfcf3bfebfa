"""Local normalised cross-correlation as a loss."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import local_ncc


class LocalNCCLoss(nn.Module):
    """Minus the mean squared local correlation coefficient; -1 where the images agree everywhere.

    Unlike `monai.losses.LocalNormalizedCrossCorrelationLoss` it guards the product of the variances, not each,
    so that flat background counts as uncorrelated.

    Args:
        window: odd edge length of the cubic window, in voxels.
    """

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        self.window = window

    def forward(self, warped: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Two images (B, 1, D, H, W) to a scalar."""
        return -local_ncc(warped, fixed, self.window).mean()
