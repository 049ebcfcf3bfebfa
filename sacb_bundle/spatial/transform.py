"""The result of a registration: where each place of the fixed image lies in the moving one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from .displacement_field import DisplacementField, map_affinely
from .grid import Grid
from .sampling import is_inside


@dataclass(frozen=True, eq=False)
class Transform:
    """Map from fixed to moving world coordinates (mm, RAS): x to affine(x + displacement(x)).

    It pulls: the warped image at x is the moving image at the transform of x.

    Attributes:
        affine: 4x4.
        displacement: applied first; None for an affine transform.
    """

    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    displacement: DisplacementField | None = None

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu") if self.displacement is None else self.displacement.vectors.device

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """World coordinates (3, d, h, w) in the fixed image to those in the moving one."""
        if self.displacement is not None:
            positions = positions + self.displacement.at(positions)
        return map_affinely(torch.from_numpy(self.affine).to(positions), positions)

    def on_slabs(self, grid: Grid) -> Iterator[tuple[slice, torch.Tensor]]:
        """Slabs of a grid and the positions in the moving image (3, d, H, W) of their voxels."""
        for planes in grid.slabs():
            yield planes, self(grid.positions(planes, self.device))

    def map_points(self, points: np.ndarray) -> np.ndarray:
        """World coordinates (N, 3) in the fixed image to those in the moving one."""
        return from_positions(self(to_positions(points, self.device)))

    def reaches(self, fixed: Grid, moving: Grid) -> bool:
        """Whether any voxel of the fixed grid is taken into the moving one."""
        to_index = torch.from_numpy(np.linalg.inv(moving.affine)).to(self.device, torch.float32)
        return any(
            bool(is_inside(map_affinely(to_index, positions), moving.shape).any())
            for _, positions in self.on_slabs(fixed)
        )

    def share_inside(self, fixed: Grid, moving: Grid) -> float:
        """Share of the fixed grid that is taken into the moving one, from 20 x 20 x 20 places."""
        return float(moving.contains(self.map_points(fixed.lattice(20))).mean())


def to_positions(points: np.ndarray, device: torch.device) -> torch.Tensor:
    """Points (N, 3) as positions (3, 1, 1, N)."""
    return torch.from_numpy(np.asarray(points, dtype=np.float64)).to(device, torch.float32).T.reshape(3, 1, 1, -1)


def from_positions(positions: torch.Tensor) -> np.ndarray:
    """Positions (3, 1, 1, N) as points (N, 3) fp64."""
    return positions.reshape(3, -1).T.double().cpu().numpy()
