"""Transforms from fixed to moving world coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import InputError
from .displacement_field import DisplacementField, map_affinely
from .grid import Grid
from .sampling import is_inside


@dataclass(frozen=True, eq=False)
class Transform:
    """Map x in fixed to affine(x + displacement(x)) in moving world coordinates (mm, RAS).

    The warped image at x is the moving image at the transform of x (pull).

    Attributes:
        affine: 4x4 matrix.
        displacement: displacement field, applied first; None for an affine transform.
    """

    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    displacement: DisplacementField | None = None

    @property
    def device(self) -> torch.device:
        """Device that computes the transform."""
        return torch.device("cpu") if self.displacement is None else self.displacement.vectors.device

    def __call__(self, positions: torch.Tensor) -> torch.Tensor:
        """Map world coordinates (3, d, h, w) from the fixed to the moving image."""
        if self.displacement is not None:
            positions = positions + self.displacement.at(positions)
        return map_affinely(torch.from_numpy(self.affine).to(positions), positions)

    def on_slabs(self, grid: Grid) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the slabs of a grid, each with the positions of its voxels in the moving image.

        Args:
            grid: grid in the world of the fixed image.

        Yields:
            Slice of the d planes of a slab along the first axis, and world coordinates (3, d, H, W) fp32, in mm, RAS.
        """
        for planes in grid.slabs():
            yield planes, self(grid.positions(planes, self.device))

    def map_points(self, points: np.ndarray) -> np.ndarray:
        """Map points from the fixed to the moving image.

        Args:
            points: world coordinates (N, 3) in the fixed image, in mm, RAS.

        Returns:
            World coordinates (N, 3) fp64 in the moving image, in mm, RAS.

        Raises:
            InputError: if the points are not finite numbers of this shape.
        """
        return from_positions(self(to_positions(checked_points(points), self.device)))

    def reaches(self, fixed: Grid, moving: Grid) -> bool:
        """Return whether the transform maps any voxel of the fixed grid into the moving grid.

        Args:
            fixed: grid of the fixed image.
            moving: grid of the moving image.

        Returns:
            True if the centre of at least one voxel ends within a voxel of the moving grid.
        """
        to_index = torch.from_numpy(np.linalg.inv(moving.affine)).to(self.device, torch.float32)
        return any(
            bool(is_inside(map_affinely(to_index, positions), moving.shape).any())
            for _, positions in self.on_slabs(fixed)
        )

    def check_reach(self, fixed: Grid, moving: Grid, name: str) -> None:
        """Check that the transform maps some of the fixed grid into the grid of an image of the moving scan.

        Args:
            fixed: grid of the fixed image.
            moving: grid of the image of the moving scan.
            name: name of that image in the error message.

        Raises:
            InputError: if it does not.
        """
        if not self.reaches(fixed, moving):
            raise InputError(
                f"{name}: the transform maps no part of the fixed image into it. Does it belong to the moving image?"
            )

    def share_inside(self, fixed: Grid, moving: Grid) -> float:
        """Return the share of the fixed grid that maps into the moving grid, from 20 x 20 x 20 points.

        Args:
            fixed: grid of the fixed image.
            moving: grid of the moving image.

        Returns:
            The share, from 0 to 1.
        """
        return float(moving.contains(self.map_points(fixed.lattice(20))).mean())


def checked_points(points: object) -> np.ndarray:
    """Convert points to an array, and check them.

    Args:
        points: world coordinates (N, 3), in mm, RAS, as an array, a tensor or lists.

    Returns:
        The coordinates, fp64.

    Raises:
        InputError: if they are not finite numbers of this shape.
    """
    try:
        array = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("points must be an array (N, 3) of finite numbers, in mm, RAS.") from error
    if array.ndim != 2 or array.shape[1] != 3:
        raise InputError(f"points has shape {array.shape}; it must be (N, 3), finite, in mm, RAS.")
    if not np.isfinite(array).all():
        raise InputError("points holds coordinates that are NaN or infinite.")
    return array


def to_positions(points: np.ndarray, device: torch.device) -> torch.Tensor:
    """Convert points to the shape that a transform takes.

    Args:
        points: world coordinates (N, 3).
        device: device of the result.

    Returns:
        The same coordinates (3, 1, 1, N) fp32.
    """
    return torch.from_numpy(np.asarray(points, dtype=np.float64)).to(device, torch.float32).T.reshape(3, 1, 1, -1)


def from_positions(positions: torch.Tensor) -> np.ndarray:
    """Convert positions to points, the inverse of `to_positions`.

    Args:
        positions: world coordinates (3, 1, 1, N), on any device.

    Returns:
        The same coordinates (N, 3) fp64.
    """
    return positions.reshape(3, -1).T.double().cpu().numpy()
