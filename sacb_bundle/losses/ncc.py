"""Local normalised cross-correlation as a loss."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from ..ops import local_ncc


class LocalNCCLoss(nn.Module):
    """Minus the mean squared local correlation coefficient; -1 where the images agree everywhere.

    Unlike `monai.losses.LocalNormalizedCrossCorrelationLoss` it guards the product of the variances, not each,
    so that flat background counts as uncorrelated.

    Args:
        window: odd edge length of the cubic window, in voxels.

    Raises:
        InputError: if the window is even or smaller than 3.
    """

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        if window % 2 == 0 or window < 3:
            raise InputError(f"window is {window}; the window of the NCC has an odd edge of at least 3 voxels.")
        self.window = window

    def forward(self, warped: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        """Two images (B, 1, D, H, W) to a scalar."""
        return -local_ncc(warped, fixed, self.window).mean()
