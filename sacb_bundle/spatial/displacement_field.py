"""Displacement fields in world coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from .grid import Grid
from .sampling import sample_linear


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements from points of the fixed image to the corresponding points of the moving image.

    Attributes:
        vectors: displacements (3, D, H, W) fp32, in mm, with components along the world's axes (RAS), at the voxels of
            the grid. They are interpolated linearly; beyond the grid, those at its border apply.
        grid: grid of the same shape as the vectors.
    """

    vectors: torch.Tensor = field(repr=False)
    grid: Grid

    @classmethod
    def from_voxels(cls, field: torch.Tensor, grid: Grid) -> DisplacementField:
        """Convert a network's field to world coordinates.

        Args:
            field: displacements (3, D, H, W) in voxels of the grid, with components in the order of its axes.
            grid: grid of the shape (D, H, W).

        Returns:
            The displacement field, on the same device.
        """
        matrix = torch.from_numpy(grid.affine[:3, :3]).to(field)
        return cls(torch.einsum("ij,jdhw->idhw", matrix, field), grid)

    def in_voxels_of(self, grid: Grid) -> torch.Tensor:
        """Return the vectors in voxels of a grid, at the same positions.

        Args:
            grid: grid whose voxels are the unit, and whose axes are the directions of the components.

        Returns:
            Displacements (3, D, H, W), with components in the order of the axes of `grid`.
        """
        matrix = torch.from_numpy(np.linalg.inv(grid.affine[:3, :3])).to(self.vectors)
        return torch.einsum("ij,jdhw->idhw", matrix, self.vectors)

    def covering(self, grid: Grid) -> DisplacementField:
        """Return the field extended from its border over all of another grid, for programs that do not extrapolate.

        Args:
            grid: grid to cover.

        Returns:
            The displacement field on its own grid, extended by as many voxels as the other grid needs.
        """
        index = self.grid.to_index(grid.corners)
        before = np.maximum(0, np.ceil(-index.min(axis=0))).astype(int)
        after = np.maximum(0, np.ceil(index.max(axis=0) - np.array(self.grid.shape) + 1)).astype(int)
        padding = [int(size) for pair in zip(before[::-1], after[::-1], strict=True) for size in pair]
        vectors = F.pad(self.vectors[None], padding, mode="replicate")[0]
        affine = self.grid.affine.copy()
        affine[:3, 3] = self.grid.to_world(-before[None])[0]
        return DisplacementField(vectors, Grid(tuple(vectors.shape[1:]), affine))

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the vectors at points of the fixed image, interpolated linearly.

        Args:
            positions: world coordinates (3, d, h, w) fp32, in mm, RAS, on the field's device.

        Returns:
            Displacements (3, d, h, w), in mm, RAS.
        """
        to_index = torch.from_numpy(np.linalg.inv(self.grid.affine)).to(positions)
        return sample_linear(self.vectors, map_affinely(to_index, positions))


def map_affinely(matrix: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Map positions by an affine matrix.

    Args:
        matrix: 4x4 matrix, with the dtype and device of the positions.
        positions: positions (3, d, h, w), such as world coordinates or voxel indices.

    Returns:
        Positions (3, d, h, w).
    """
    return torch.einsum("ij,jdhw->idhw", matrix[:3, :3], positions) + matrix[:3, 3].reshape(3, 1, 1, 1)
