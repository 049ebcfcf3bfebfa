"""Jacobian matrix of the transformation that a displacement field gives."""

from __future__ import annotations

import torch


def jacobian(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the Jacobian matrix of v + u(v), by finite differences.

    The differences are central in the interior and one-sided at the border of the image, as in `numpy.gradient`.

    Args:
        field: displacement field u (..., 3, D, H, W), in voxels, components along D, H and W; two voxels or more along
            each axis.

    Returns:
        The columns of the matrix, its derivatives along D, H and W, each (..., 3, D, H, W).

    Example:
        >>> import torch
        >>> along_d, along_h, along_w = jacobian(torch.zeros(3, 4, 4, 4))
        >>> along_h[:, 0, 0, 0].tolist()
        [0.0, 1.0, 0.0]
    """
    columns = torch.gradient(field, dim=(-3, -2, -1))
    for axis, column in enumerate(columns):
        column.select(-4, axis).add_(1)
    return columns[0], columns[1], columns[2]


def determinant(first: torch.Tensor, second: torch.Tensor, third: torch.Tensor) -> torch.Tensor:
    """Return the determinant of 3x3 matrices.

    Args:
        first: first column of the matrices, (..., 3, D, H, W).
        second: second column, likewise.
        third: third column, likewise.

    Returns:
        The determinants (..., D, H, W).
    """
    (a, b, c), (d, e, f), (g, h, i) = (column.unbind(-4) for column in (first, second, third))
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
