"""Grids of images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])
# Number of voxels processed at a time, so that memory does not grow with the image.
SLAB_VOXELS = 2**21


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions of the voxels of an image.

    Attributes:
        shape: number of voxels along each axis.
        affine: 4x4 matrix from voxel indices to world coordinates in mm, RAS (as in nibabel).
    """

    shape: tuple[int, ...]
    affine: np.ndarray

    @classmethod
    def from_itk(cls, shape: tuple[int, ...], origin: np.ndarray, spacing: np.ndarray, direction: np.ndarray) -> Grid:
        """Make the grid of an ITK image.

        Args:
            shape: number of voxels along each axis.
            origin: position of the first voxel in mm, LPS.
            spacing: distance between neighbouring voxels along each axis, in mm.
            direction: matrix (3, 3) whose columns are the unit vectors of the axes in LPS.

        Returns:
            The grid, whose affine is in RAS.
        """
        affine = np.eye(4)
        affine[:3, :3] = RAS_TO_LPS @ np.asarray(direction).reshape(3, 3) @ np.diag(spacing)
        affine[:3, 3] = RAS_TO_LPS @ np.asarray(origin)
        return cls(tuple(shape), affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbouring voxels along each axis, in mm."""
        return tuple(float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def extent(self) -> tuple[float, ...]:
        """Length along each axis, in mm."""
        return tuple(size * length for size, length in zip(self.shape, self.spacing, strict=True))

    @property
    def direction(self) -> np.ndarray:
        """Unit vectors of the axes in RAS, as columns."""
        return self.affine[:3, :3] / np.array(self.spacing)

    @property
    def itk_geometry(self) -> tuple[list[float], list[float], list[float]]:
        """Origin in mm, spacing, and direction row by row, in ITK's LPS coordinates."""
        origin, direction = RAS_TO_LPS @ self.affine[:3, 3], RAS_TO_LPS @ self.direction
        return origin.tolist(), list(self.spacing), direction.ravel().tolist()

    @property
    def corners(self) -> np.ndarray:
        """World coordinates (8, 3) of the centres of the corner voxels."""
        indices = np.array(np.meshgrid(*[(0, size - 1) for size in self.shape], indexing="ij")).reshape(3, -1)
        return self.to_world(indices.T)

    def to_world(self, indices: np.ndarray) -> np.ndarray:
        """Convert voxel indices to world coordinates.

        Args:
            indices: voxel indices (N, 3), integer or fractional.

        Returns:
            World coordinates (N, 3) fp64, in mm, RAS.
        """
        return apply_affine(self.affine, indices)

    def to_index(self, points: np.ndarray) -> np.ndarray:
        """Convert world coordinates to voxel indices.

        Args:
            points: world coordinates (N, 3), in mm, RAS.

        Returns:
            Voxel indices (N, 3) fp64, fractional between voxel centres.
        """
        return apply_affine(np.linalg.inv(self.affine), points)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return whether each point is within a voxel.

        Args:
            points: world coordinates (N, 3), in mm, RAS.

        Returns:
            Booleans (N,).
        """
        index = self.to_index(points)
        return np.all((index > -0.5) & (index < np.array(self.shape) - 0.5), axis=1)

    def distance_to(self, points: np.ndarray) -> np.ndarray:
        """Return how far each point is outside the voxels.

        Args:
            points: world coordinates (N, 3), in mm, RAS.

        Returns:
            Distances (N,) in mm, along the axes of the grid; 0 for points within a voxel.
        """
        index = self.to_index(points)
        outside = np.maximum(-0.5 - index, index - np.array(self.shape) + 0.5).clip(min=0)
        return np.asarray(np.linalg.norm(outside * self.spacing, axis=1))

    def coincides_with(self, other: Grid) -> bool:
        """Return whether both grids have the same shape, and the same corner voxels within 1 % of a voxel.

        Args:
            other: grid to compare with.

        Returns:
            True if no coordinate of a corner differs by more than 1 % of this grid's smallest spacing.
        """
        if self.shape != other.shape:
            return False
        return bool(np.abs(self.corners - other.corners).max() <= 0.01 * min(self.spacing))

    def encloses(self, other: Grid) -> bool:
        """Return whether all voxels of the other grid are within this one, or less than a voxel outside.

        Args:
            other: grid whose voxels are checked.

        Returns:
            True if the centre of each corner voxel is less than a voxel outside the outermost centres of this grid.
        """
        indices = self.to_index(other.corners)
        return bool((indices > -1).all() and (indices < np.array(self.shape)).all())

    def slabs(self) -> Iterator[slice]:
        """Divide the grid into slabs of about `SLAB_VOXELS` voxels each.

        Yields:
            Slice of the planes of a slab along the first axis, with a start and a stop, in ascending order.
        """
        planes = max(1, SLAB_VOXELS // max(1, self.shape[1] * self.shape[2]))
        for start in range(0, self.shape[0], planes):
            yield slice(start, min(start + planes, self.shape[0]))

    def plane(self, axis: int, index: int) -> Grid:
        """Return the grid of one plane, which has the size 1 along its axis.

        Args:
            axis: axis at right angles to the plane: 0, 1 or 2.
            index: voxel index of the plane along that axis.

        Returns:
            The grid, whose voxels are where those of the plane are.
        """
        affine = self.affine.copy()
        affine[:3, 3] += index * affine[:3, axis]
        return Grid(tuple(1 if other == axis else size for other, size in enumerate(self.shape)), affine)

    def lattice(self, steps: int) -> np.ndarray:
        """Return points spaced evenly over the grid.

        Args:
            steps: number of points along each axis, from the first voxel to the last.

        Returns:
            World coordinates (steps**3, 3), in mm, RAS.
        """
        along = [np.linspace(0, size - 1, steps) for size in self.shape]
        return self.to_world(np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 3))

    def positions(self, planes: slice, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the world coordinates of the voxels of a slab.

        Args:
            planes: slice of the d planes of the slab along the first axis, with a start and a stop.
            device: device of the result.

        Returns:
            World coordinates (3, d, H, W) fp32, in mm, RAS.
        """
        terms = []
        for axis, planes_of_axis in enumerate((planes, slice(0, self.shape[1]), slice(0, self.shape[2]))):
            indices = np.arange(planes_of_axis.start, planes_of_axis.stop)
            term = torch.from_numpy(self.affine[:3, axis, None] * indices).to(device, torch.float32)
            terms.append(term.reshape(3, *(-1 if other == axis else 1 for other in range(3))))
        origin = torch.from_numpy(self.affine[:3, 3]).to(device, torch.float32).reshape(3, 1, 1, 1)
        return (terms[0] + origin) + (terms[1] + terms[2])

    def __str__(self) -> str:
        size = "x".join(map(str, self.shape))
        spacing = "x".join(f"{length:.4g}" for length in self.spacing)
        origin = ", ".join(f"{coordinate:.4g}" for coordinate in self.affine[:3, 3])
        return f"{size} voxels of {spacing} mm, first voxel at ({origin})"


def check_same_grid(name: str, grid: Grid, reference_name: str, reference: Grid) -> None:
    """Check that two grids coincide.

    Args:
        name: name of the image in the error message.
        grid: grid of the image.
        reference_name: name of the reference image in the error message.
        reference: grid of the reference image.

    Raises:
        InputError: if they do not; names both images and grids.
    """
    if not grid.coincides_with(reference):
        raise InputError(
            f"{name} has {grid}, but {reference_name} has {reference}. "
            "Both must be on the same grid; resample one onto the other first."
        )


def apply_affine(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points by an affine matrix.

    Args:
        affine: 4x4 matrix.
        points: points (N, 3), such as world coordinates or voxel indices.

    Returns:
        Points (N, 3) fp64.
    """
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
