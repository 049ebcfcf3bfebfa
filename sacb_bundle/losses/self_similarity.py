"""Distance of self-similarities as a loss, for images of different contrasts."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import masked_mean, self_similarity


class SelfSimilarityLoss(nn.Module):
    """Mean squared distance of the MIND-SSC descriptors of two images; 0 if they agree everywhere.

    Source: M. P. Heinrich et al., "Towards realtime multimodal fusion for image-guided interventions using
    self-similarities", MICCAI 2013.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> round(SelfSimilarityLoss()(1 - image, image).item(), 3)
        0.0
    """

    def forward(self, warped: torch.Tensor, fixed: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of two images.

        Args:
            warped: warped moving image (B, 1, D, H, W).
            fixed: fixed image (B, 1, D, H, W).
            mask: weights (B, 1, D, H, W) of the voxels of the fixed image, 0 where nothing is compared; by default, all
                count alike.

        Returns:
            Scalar.
        """
        return masked_mean((self_similarity(warped, mask=mask) - self_similarity(fixed, mask=mask)).square(), mask)
