"""Training loss: image dissimilarity plus a regulariser of the displacement field."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import common_mask, warp


class RegistrationLoss(nn.Module):
    """Dissimilarity of the warped and the fixed image plus a weighted regulariser of the displacement field.

    Args:
        similarity: module from (warped, fixed), and a mask if there is one, to a scalar that is lower for images that
            agree better.
        regulariser: module from a displacement field (B, 3, D, H, W), in voxels, to a scalar.
        regulariser_weight: weight lambda. The paper trains with 0.3 to 0.5 on abdomen CT, 1 on LPBA40 and 3 on IXI.

    Example:
        >>> import torch
        >>> from sacb_bundle.losses import LocalNCCLoss, SmoothnessLoss
        >>> loss = RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), regulariser_weight=1.0)
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> round(loss(torch.zeros(1, 3, 16, 16, 16), torch.cat([image, image], dim=1)).item(), 2)
        -1.0
    """

    def __init__(self, similarity: nn.Module, regulariser: nn.Module, regulariser_weight: float) -> None:
        super().__init__()
        self.similarity = similarity
        self.regulariser = regulariser
        self.regulariser_weight = regulariser_weight

    def forward(self, field: torch.Tensor, image: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        """Return the loss of a predicted displacement field; the target is the registered pair itself.

        Args:
            field: predicted displacement field (B, 3, D, H, W), in voxels.
            image: pair (B, 2, D, H, W), channel 0 moving and channel 1 fixed.
            masks: masks (B, 2, D, H, W) of the moving and the fixed image, 0 where an image does not count; by default,
                nothing is masked.

        Returns:
            Scalar.
        """
        return self.dissimilarity(field, image, masks) + self.regulariser_weight * self.regulariser(field)

    def dissimilarity(
        self, field: torch.Tensor, image: torch.Tensor, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the loss without the regulariser.

        Args:
            field: displacement field, as in `forward`.
            image: pair, likewise.
            masks: masks, likewise.

        Returns:
            Scalar.
        """
        moving, fixed = image.split(1, dim=1)
        if masks is None:
            return self.similarity(warp(moving, field), fixed)
        return self.similarity(warp(moving, field), fixed, common_mask(masks, field))
