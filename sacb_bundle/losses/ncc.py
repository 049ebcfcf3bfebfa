"""Local normalised cross-correlation as a loss."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError
from ..ops import local_ncc, masked_mean


class LocalNCCLoss(nn.Module):
    """Negative mean squared local correlation coefficient; -1 if the images agree everywhere.

    Unlike `monai.losses.LocalNormalizedCrossCorrelationLoss`, it guards the product of the variances, not each
    variance, so flat background counts as uncorrelated.

    Args:
        window: odd edge length of the cubic window, in voxels.

    Raises:
        InputError: if the window is even or smaller than 3.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> round(LocalNCCLoss()(image, image).item(), 2)
        -1.0
    """

    def __init__(self, window: int = 9) -> None:
        super().__init__()
        if window % 2 == 0 or window < 3:
            raise InputError(f"window is {window}; it must be an odd number of voxels, at least 3.")
        self.window = window

    def forward(self, warped: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of two images.

        Args:
            warped: warped moving image (B, 1, D, H, W).
            fixed: fixed image (B, 1, D, H, W).
            mask: weights (B, 1, D, H, W) of the voxels of the fixed image, by the centre of the window; by default, all
                count alike.

        Returns:
            Scalar.
        """
        return -masked_mean(local_ncc(warped, fixed, self.window), mask)
