"""Penalty on the folds of a displacement field."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import determinant, jacobian


class FoldingLoss(nn.Module):
    """Mean amount by which the Jacobian determinant of v + u(v) is below a limit; 0 without folds.

    Args:
        least_determinant: limit. One above 0 keeps a distance from folds.

    Source: T. C. W. Mok and A. C. S. Chung, "Fast symmetric diffeomorphic image registration with convolutional neural
    networks", CVPR 2020.

    Example:
        >>> import torch
        >>> field = torch.zeros(1, 3, 4, 4, 4)
        >>> field[:, 0] = -3 * torch.arange(4.0).reshape(4, 1, 1)  # the determinant is -2
        >>> FoldingLoss()(field).item()
        2.0
    """

    def __init__(self, least_determinant: float = 0.0) -> None:
        super().__init__()
        self.least_determinant = least_determinant

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        """Return the loss of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels.

        Returns:
            Scalar.
        """
        return torch.relu(self.least_determinant - determinant(*jacobian(field.float()))).mean()
