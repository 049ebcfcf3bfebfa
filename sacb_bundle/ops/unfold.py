"""Remove the folds of a displacement field."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..errors import InputError
from .tetrahedra import CORNERS, TETRAHEDRA, orientation

# Determinant below which a tetrahedron counts as folded, with a margin for rounding; and the one it is given.
_LEAST, _AIM = 0.01, 0.1
# Share of the way to it in one round; the cubes around a voxel move it, too.
_SHARE = 0.7
# Least squared length of a gradient, so that a collapsed cube does not throw its voxels far away.
_LEAST_SLOPE = 0.01
# Rounds after which the field is also smoothed around the folds that are left, and again after which farther; and
# rounds after which the folds cannot be removed.
_ROUNDS, _MOST_ROUNDS = 40, 800
# Cubes that are looked at in one go.
_NUM_CUBES = 2**18

# Corners of each tetrahedron, the apex first, as indices of `CORNERS`, and the sign of its determinant without folds.
_TETRAHEDRA = [[CORNERS.index(corner) for corner in (apex, *others)] for apex, others in TETRAHEDRA]
_SIGNS = [orientation(apex) for apex, _ in TETRAHEDRA]
# Each corner of the cube belongs to five tetrahedra: its places among the corners of all.
_PLACES = [
    [4 * number + place for number, corners in enumerate(_TETRAHEDRA) for place in range(4) if corners[place] == corner]
    for corner in range(len(CORNERS))
]


def unfolded(field: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
    """Move the voxels at the folds of v + u(v) a little, so that nothing folds.

    The cubes between eight neighbouring voxels are cut into tetrahedra, in two ways, as in
    `sacb_bundle.metrics.non_diffeomorphic_volume`. In each round, every folded tetrahedron moves its voxels along the
    gradient of its determinant. Where folds remain after many rounds, the field is smoothed around them.

    Args:
        field: displacement field u (3, D, H, W) fp32, in voxels, finite. A single plane has no folds.
        scale: determinant of v + u(v) on average, above 0, such as that of an alignment that u includes.

    Returns:
        The field (3, D, H, W) without folded tetrahedra.

    Raises:
        InputError: if folds remain, since the field is not one of displacements from voxel to voxel.

    Example:
        >>> import torch
        >>> field = torch.zeros(3, 4, 4, 4)
        >>> field[0, 1] = 2  # past the next voxels
        >>> bool((unfolded(field)[0].diff(dim=0) > -1).all())
        True
    """
    device, shape = field.device, field.shape[1:]
    if 1 in shape:
        return field
    unit = scale ** (1 / 3)
    index = torch.meshgrid(*(torch.arange(size, device=device) for size in shape), indexing="ij")
    number = torch.arange(shape.numel(), device=device).reshape(shape)
    offsets = torch.stack([number[corner] for corner in CORNERS])
    folded = torch.ones([size - 1 for size in shape], dtype=torch.bool, device=device)  # of each cube
    for rounds in range(_MOST_ROUNDS):
        places = torch.stack([u + v for u, v in zip(field, index, strict=True)], dim=-1).reshape(-1, 3)
        looked_at = _spread(folded, 1)
        first = number[:-1, :-1, :-1][looked_at]
        parts = first.split(_NUM_CUBES)
        folds = torch.cat([_folds(places[part[:, None] + offsets] / unit) for part in parts])
        if not folds.any():
            return field
        folded = looked_at.masked_scatter(looked_at, folds)
        vectors = field.flatten(1).T.contiguous()
        for part in first[folds].split(_NUM_CUBES):
            cubes = part[:, None] + offsets
            steps = unit * _steps(places[cubes] / unit)
            for corner in range(len(CORNERS)):  # no voxel is twice the same corner, so the order of the sums is fixed
                vectors[cubes[:, corner]] += steps[:, corner]
        field = vectors.T.reshape(field.shape)
        reach = rounds // _ROUNDS
        if reach:
            around = _spread(folded, reach - 1)
            voxels = F.max_pool3d(F.pad(around[None].float(), (1,) * 6), 2, stride=1)[0] > 0
            mean = F.avg_pool3d(F.pad(field[None], (1,) * 6, mode="replicate"), 3, stride=1)[0]
            field, folded = torch.where(voxels, mean, field), around
    raise InputError("The displacement field folds so much that its folds cannot be removed; register without them.")


def _spread(cubes: torch.Tensor, distance: int) -> torch.Tensor:
    """Return whether each cube (D, H, W) is at most so many cubes away from one that is marked."""
    return F.max_pool3d(cubes[None].float(), 2 * distance + 1, stride=1, padding=distance)[0] > 0


def _edges(corners: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the three edges (N, 10, 3) from the apex of each tetrahedron of cubes with corners at (N, 8, 3)."""
    tetrahedra = corners[:, _TETRAHEDRA]
    a, b, c = (tetrahedra[:, :, 1:] - tetrahedra[:, :, :1]).unbind(dim=2)
    return a, b, c


def _folds(corners: torch.Tensor) -> torch.Tensor:
    """Return whether any tetrahedron of each cube with corners at (N, 8, 3) has folded."""
    a, b, c = _edges(corners)
    determinants = (a * torch.linalg.cross(b, c)).sum(dim=2)
    return (determinants * determinants.new_tensor(_SIGNS) < _LEAST).any(dim=1)


def _steps(corners: torch.Tensor) -> torch.Tensor:
    """Return the steps (N, 8, 3) by which the folded tetrahedra of cubes move the corners (N, 8, 3) of the cubes."""
    a, b, c = _edges(corners)
    slopes = torch.stack([torch.linalg.cross(*edges) for edges in ((b, c), (c, a), (a, b))], dim=2)
    slopes = slopes * slopes.new_tensor(_SIGNS)[:, None, None]
    determinants = (a * slopes[:, :, 0]).sum(dim=2)
    slopes = torch.cat([-slopes.sum(dim=2, keepdim=True), slopes], dim=2)
    missing = torch.where(determinants < _LEAST, _AIM - determinants, 0)
    length = slopes.square().sum(dim=(2, 3)).clamp(min=_LEAST_SLOPE)
    steps = (_SHARE * missing / length)[:, :, None, None] * slopes
    return steps.flatten(1, 2)[:, _PLACES].sum(dim=2)
