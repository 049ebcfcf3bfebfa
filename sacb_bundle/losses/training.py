"""Loss of a training step, with the terms that a training asks for."""

from __future__ import annotations

import torch
from torch import nn


class TrainingLoss(nn.Module):
    """Loss of a registration, and weighted terms that need label maps or both directions.

    Args:
        registration: module from (field, pair), and masks if there are any, to a scalar, see `RegistrationLoss`.
        label_loss: module from (field, label maps), and masks if there are any, to a scalar, see `DiceLoss`; None
            without label maps.
        label_weight: its weight.
        consistency: module from the fields (2B, 3, D, H, W) of B pairs and then of the swapped pairs to a scalar, see
            `InverseConsistencyLoss`; None for pairs in one direction.
        consistency_weight: its weight.

    Example:
        >>> import torch
        >>> from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
        >>> loss = TrainingLoss(RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), regulariser_weight=1.0))
        >>> image = torch.rand(1, 1, 16, 16, 16)
        >>> round(loss(torch.zeros(1, 3, 16, 16, 16), torch.cat([image, image], dim=1)).item(), 2)
        -1.0
    """

    def __init__(
        self,
        registration: nn.Module,
        label_loss: nn.Module | None = None,
        label_weight: float = 0.0,
        consistency: nn.Module | None = None,
        consistency_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.registration = registration
        self.label_loss = label_loss
        self.label_weight = label_weight
        self.consistency = consistency
        self.consistency_weight = consistency_weight

    def forward(self, field: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of predicted displacement fields.

        Args:
            field: displacement fields (B, 3, D, H, W), in voxels.
            target: what is compared (B, 2 to 6, D, H, W), of the moving and the fixed image each: the pair, the label
                maps if there is a loss for them, and the masks if there are any; see
                `sacb_bundle.engine.TrainingBatch`.

        Returns:
            Scalar.
        """
        pair, *maps = target.split(2, dim=1)
        labels = None if self.label_loss is None else maps.pop(0)
        loss: torch.Tensor = self.registration(field, pair, *maps)
        if self.label_loss is not None:
            loss = loss + self.label_weight * self.label_loss(field, labels, *maps)
        if self.consistency is not None:
            loss = loss + self.consistency_weight * self.consistency(field)
        return loss
