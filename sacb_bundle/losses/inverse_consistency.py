"""Inverse consistency of the displacement fields of both directions."""

from __future__ import annotations

import torch
from torch import nn

from ..ops import voxel_index, warp


class InverseConsistencyLoss(nn.Module):
    """Mean squared gradient of the composition of both directions (GradICON); 0 if they are inverses up to a shift.

    With a and b the displacement fields of a pair and of the swapped pair, v + w(v), w = a(v + b(v)) + b(v), is the
    composition. Its Jacobian matrix minus the identity is the gradient of w; the loss is the mean of the sum of its
    nine squares, over the voxels and over both orders. The gradient is by central differences, one-sided at the border
    of the image. Beyond the image, a field continues as at its border.

    Source: L. Tian et al., "GradICON: approximate diffeomorphisms via gradient inverse consistency", CVPR 2023.

    Example:
        >>> import torch
        >>> there, back = torch.zeros(2, 1, 3, 9, 9, 9)
        >>> there[:, 0] = 0.5 * (torch.arange(9.0) - 4).reshape(9, 1, 1)  # one and a half times as long
        >>> InverseConsistencyLoss()(torch.cat([there, back])).item()
        0.25
        >>> back[:, 0] = there[:, 0] / -1.5
        >>> InverseConsistencyLoss()(torch.cat([there, back])).item() < 0.1
        True
    """

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Return the loss of the fields of both directions.

        Args:
            fields: displacement fields (2B, 3, D, H, W), in voxels, of B pairs and then of the swapped pairs; two
                voxels or more along each axis.

        Returns:
            Scalar.
        """
        fields = fields.float()
        others = fields.roll(len(fields) // 2, dims=0)
        composed = warp(fields, _kept_inside(others)) + others
        gradients = torch.gradient(composed, dim=(2, 3, 4))
        return sum((along.square().sum(dim=1).mean() for along in gradients), start=fields.new_zeros(()))


def _kept_inside(field: torch.Tensor) -> torch.Tensor:
    """Return a field (B, 3, D, H, W) whose positions v + u(v) are moved to the border if they lie beyond it."""
    components = []
    for axis, size in enumerate(field.shape[2:]):
        index = voxel_index(field, axis)
        components.append((index + field[:, axis]).clamp(0, size - 1) - index)
    return torch.stack(components, dim=1)
