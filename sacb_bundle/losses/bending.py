"""Bending energy of a displacement field."""

from __future__ import annotations

import torch
from torch import nn


class BendingEnergyLoss(nn.Module):
    """Mean bending energy: the sum of the squared second derivatives, mixed ones twice; 0 for affine transforms.

    The derivatives are differences of neighbouring voxels, in the interior of the image.

    Source: D. Rueckert et al., "Nonrigid registration using free-form deformations", IEEE Transactions on Medical
    Imaging 18, 1999.

    Example:
        >>> import torch
        >>> field = torch.zeros(1, 3, 5, 5, 5)
        >>> field[:, 0] = torch.arange(5.0).reshape(5, 1, 1) ** 2
        >>> BendingEnergyLoss()(field).item()  # 2 squared, in one of three components
        1.3333333730697632
    """

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        """Return the energy of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels, three voxels or more along each axis.

        Returns:
            Scalar, per squared voxel.
        """
        field = field.float()
        energy = field.new_zeros(())
        for first in (2, 3, 4):
            others = [axis for axis in (2, 3, 4) if axis != first]
            energy = energy + _interior(field.diff(n=2, dim=first), others).square().mean()
            for second in others:
                if second > first:
                    energy = energy + 2 * _mixed(field, first, second).square().mean()
        return energy


def _interior(values: torch.Tensor, axes: list[int]) -> torch.Tensor:
    """Return values without the border voxels along axes."""
    for axis in axes:
        values = values.narrow(axis, 1, values.shape[axis] - 2)
    return values


def _mixed(field: torch.Tensor, first: int, second: int) -> torch.Tensor:
    """Return the mixed second derivative along two axes, by central differences in the interior."""
    (third,) = {2, 3, 4} - {first, second}
    for axis in (first, second):
        size = field.shape[axis] - 2
        field = (field.narrow(axis, 2, size) - field.narrow(axis, 0, size)) / 2
    return _interior(field, [third])
