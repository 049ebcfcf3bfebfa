"""The grid of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie.

    Attributes:
        shape: number of voxels along each axis.
        affine: 4x4 matrix from voxel indices to world coordinates in mm, RAS (as nibabel's).
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring voxels along each axis, in mm."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))

    def coincides_with(self, other: Grid) -> bool:
        """Whether both have the same shape, and every corner voxel the same place within 1 % of a voxel."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape])).reshape(3, -1)
        shift = (self.affine - other.affine)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
        return bool(np.abs(shift).max() <= 0.01 * min(self.spacing))

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        spacing = "x".join(f"{length:.4g}" for length in self.spacing)
        origin = ", ".join(f"{coordinate:.4g}" for coordinate in self.affine[:3, 3])
        return f"{size} voxels of {spacing} mm, first voxel at ({origin})"
