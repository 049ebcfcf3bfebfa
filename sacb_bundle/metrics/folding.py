"""Folding and regularity of a displacement field.

The transformation is the pull-back `v -> v + u(v)`, with `u` in voxels. The measures need no spacing because it cancels
out of every determinant.
"""

from __future__ import annotations

import torch

from ..ops import TETRAHEDRA, Corner, determinant, jacobian, orientation
from .arrays import Array, as_field

LOG_FLOOR = 1e-9
"""Lower bound to which `sd_log_jacobian` clamps determinants before taking the logarithm."""

_SLAB_DEPTH = 16  # cubes per slab of NDV: enough to keep two cores busy in little memory


def jacobian_determinant(field: Array) -> torch.Tensor:
    """Return the determinant of the Jacobian matrix of `v + u(v)`, by finite differences.

    The differences are central in the interior and one-sided at the border of the image, as in `numpy.gradient`.

    Args:
        field: displacement field (3, D, H, W) in voxels, components along D, H and W.

    Returns:
        Determinant (D, H, W), on the device of the field. The transformation folds where it is negative.

    Raises:
        ValueError: if the field has another shape, fewer than two voxels along an axis, or values that are not finite.

    Example:
        >>> import torch
        >>> field = torch.zeros(3, 4, 4, 4)
        >>> field[0] = torch.arange(4.0).reshape(4, 1, 1)  # doubles D
        >>> jacobian_determinant(field).unique().tolist()
        [2.0]
    """
    return determinant(*jacobian(as_field(field)))


def folding_percentage(field: Array) -> float:
    """Return the percentage of voxels at which `jacobian_determinant` is not positive.

    Args:
        field: displacement field (3, D, H, W) in voxels, components along D, H and W.

    Returns:
        Percentage, from 0 to 100.

    Raises:
        ValueError: as `jacobian_determinant`.

    Example:
        >>> import torch
        >>> field = torch.zeros(3, 4, 4, 4)
        >>> field[0] = -2 * torch.arange(4.0).reshape(4, 1, 1)  # reverses D
        >>> folding_percentage(field)
        100.0
    """
    return 100 * (jacobian_determinant(field) <= 0).double().mean().item()


def sd_log_jacobian(field: Array) -> float:
    """Return the standard deviation, over all voxels, of the natural logarithm of `jacobian_determinant`.

    Determinants below `LOG_FLOOR` (1e-9), including all that are not positive, count as `LOG_FLOOR`, so the result is
    always finite. The divisor is the number of voxels.

    Args:
        field: displacement field (3, D, H, W) in voxels, components along D, H and W.

    Returns:
        Standard deviation.

    Raises:
        ValueError: as `jacobian_determinant`.

    Source: A. Hering et al., "Learn2Reg: comprehensive multi-task medical image registration challenge", IEEE
    Transactions on Medical Imaging 42, 2023.
    """
    log_determinant = jacobian_determinant(field).clamp_(min=LOG_FLOOR).log_()
    return log_determinant.std(correction=0).item()


def non_diffeomorphic_volume(field: Array) -> float:
    """Return the non-diffeomorphic volume (NDV): the folded volume, in percent of the volume of the grid.

    The cube between eight neighbouring voxels is cut into five tetrahedra, one at each of four corners (1/6 of the
    cube) and one in the middle (1/3), in either of two ways. A tetrahedron has folded if the transformation makes its
    signed volume negative. NDV sums the absolute folded volumes over all cubes and averages the two ways. It detects
    folds that central differences miss because they skip the middle voxel.

    Args:
        field: displacement field (3, D, H, W) in voxels, components along D, H and W.

    Returns:
        Percentage; it can exceed 100.

    Raises:
        ValueError: as `jacobian_determinant`.

    Source: Y. Liu, J. Chen, S. Wei, A. Carass, J. Prince, "On finite difference Jacobian computation in
    deformable image registration", International Journal of Computer Vision, 2024.
    """
    field = as_field(field)
    depth, height, width = (size - 1 for size in field.shape[1:])
    slabs = (field[:, start : start + _SLAB_DEPTH + 1] for start in range(0, depth, _SLAB_DEPTH))
    folded = torch.stack([_folded_volume(slab) for slab in slabs]).sum()
    return 100 * folded.item() / (depth * height * width)


def _folded_volume(field: torch.Tensor) -> torch.Tensor:
    """Return the volume of the folded tetrahedra, averaged over the two ways to cut; a float64 scalar, in cubes."""

    def displacement(corner: Corner) -> torch.Tensor:
        d, h, w = (slice(start, start + size - 1) for start, size in zip(corner, field.shape[1:], strict=True))
        return field[:, d, h, w]

    def edge(start: Corner, end: Corner) -> torch.Tensor:
        vector = displacement(end) - displacement(start)
        for axis in range(3):
            if end[axis] != start[axis]:
                vector[axis] += end[axis] - start[axis]
        return vector

    folded = torch.zeros((), dtype=torch.float64, device=field.device)
    for apex, others in TETRAHEDRA:
        six_volumes = orientation(apex) * determinant(*(edge(apex, other) for other in others))
        folded -= six_volumes.clamp_(max=0).sum(dtype=torch.float64)
    return folded / (6 * 2)
