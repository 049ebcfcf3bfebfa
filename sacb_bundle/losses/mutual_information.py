"""Mutual information as a loss, for images of different contrasts."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import InputError

# Width of the Gaussian window of a bin, relative to the distance of two bins.
WIDTH_BINS = 0.5


class MutualInformationLoss(nn.Module):
    """Negative mutual information of two images in [0, 1], in nats; 0 for independent images.

    The joint histogram is smooth: each voxel counts in all bins, by a Gaussian window. With p the joint shares of the
    bins and p_w, p_f their sums, the loss is -sum p log(p / (p_w p_f)).

    Args:
        num_bins: number of bins for each image.

    Raises:
        InputError: if there are fewer than two bins.

    Source: P. Viola and W. M. Wells, "Alignment by maximization of mutual information", International Journal of
    Computer Vision 24, 1997.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> loss = MutualInformationLoss()
        >>> bool(loss(1 - image, image) < loss(torch.rand_like(image), image) - 1)
        True
    """

    def __init__(self, num_bins: int = 32) -> None:
        super().__init__()
        if num_bins < 2:
            raise InputError(f"num_bins is {num_bins}; it must be at least 2.")
        self.num_bins = num_bins

    def forward(self, warped: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of two images.

        Args:
            warped: warped moving image (B, 1, D, H, W) in [0, 1].
            fixed: fixed image (B, 1, D, H, W) in [0, 1].
            mask: weights (B, 1, D, H, W) of the voxels of the fixed image, 0 where nothing is compared; by default, all
                count alike.

        Returns:
            Scalar, the mean over the batch.
        """
        shares_warped, shares_fixed = self._shares(warped), self._shares(fixed)
        if mask is None:
            joint = shares_warped.transpose(1, 2) @ shares_fixed / shares_warped.shape[1]
        else:
            weights = mask.flatten(1)[..., None]
            number = weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
            joint = (weights * shares_warped).transpose(1, 2) @ shares_fixed / number
        independent = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
        tiny = torch.finfo(joint.dtype).tiny
        return -(joint * (joint.clamp(min=tiny) / independent.clamp(min=tiny)).log()).sum(dim=(1, 2)).mean()

    def _shares(self, image: torch.Tensor) -> torch.Tensor:
        """Return the share of each bin (B, voxels, bins) that a voxel counts in."""
        centres = torch.linspace(0, 1, self.num_bins, device=image.device)
        distances = (image.float().flatten(1)[..., None] - centres) * (self.num_bins - 1)
        return torch.softmax(-distances.square() / (2 * WIDTH_BINS**2), dim=-1)
