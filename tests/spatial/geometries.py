"""Grids in all the geometries of scans, and a transform to apply across them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch

from sacb_bundle.spatial import DisplacementField, Grid, Transform, Volume


def rotation(degrees: float, axis: int) -> np.ndarray:
    """Return the rotation matrix (3, 3) about one of the world's axes."""
    angle = np.radians(degrees)
    matrix = np.eye(3)
    first, second = [(1, 2), (0, 2), (0, 1)][axis]
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
    return matrix


def grid(axes: str, spacing: tuple[float, float, float] = (2, 2.5, 3), turn: np.ndarray | None = None) -> Grid:
    """Make a grid over the same box of about 60 mm around (5, -7, 12), in an orientation, possibly oblique.

    The spacing is along right, anterior and superior.
    """
    shape = tuple(round(60 / length) + 1 for length in spacing)
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if turn is None else turn) @ np.diag(spacing)
    affine[:3, 3] = np.array([5.0, -7.0, 12.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    orientation = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )
    stored = nib.Nifti1Image(np.zeros(shape, np.uint8), affine).as_reoriented(orientation)
    return Grid(stored.shape, stored.affine)


GEOMETRIES = {
    "RAS": grid("RAS"),
    "LPS": grid("LPS"),
    "LAS": grid("LAS"),
    "PIR": grid("PIR"),
    "ASL": grid("ASL"),
    "oblique": grid("RAS", turn=rotation(20, 0) @ rotation(-12, 2)),
    "anisotropic": grid("RAS", spacing=(1, 1, 5)),
    "oblique PIR 1x1x5": grid("PIR", spacing=(1, 1, 5), turn=rotation(15, 1)),
}


def smooth(places: np.ndarray) -> np.ndarray:
    """Return the displacements (N, 3) at points (N, 3) of a smooth deformation up to 4 mm without folding."""
    x, y, z = places.T / 15
    return np.stack([3 * np.sin(y + 0.3) + np.cos(z), 2.5 * np.cos(x) + np.sin(z + 1), 3 * np.sin(x + y)], axis=1)


def indices(shape: tuple[int, ...]) -> np.ndarray:
    """Return the indices (N, 3) of all voxels."""
    return np.indices(shape).reshape(3, -1).T


def smooth_transform() -> Transform:
    """Make the smooth deformation on a grid larger than the geometries, followed by an affine transform."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(8, 1) @ np.diag([1.05, 0.96, 1.02])
    affine[:3, 3] = (4, -3, 6)
    own = np.diag([3.0, 3, 3, 1])
    own[:3, 3] = (-70, -80, -60)
    own_grid = Grid((48, 48, 48), own)
    vectors = smooth(own_grid.to_world(indices(own_grid.shape))).T.reshape(3, *own_grid.shape)
    return Transform(affine, DisplacementField(torch.from_numpy(vectors).float(), own_grid))


def pattern(on: Grid) -> Volume:
    """Sample a smooth image of the world on a grid: int16 from about -1000 to 1000."""
    x, y, z = on.to_world(indices(on.shape)).T
    values = 500 * np.sin(x / 9) + 300 * np.cos(y / 7 + z / 11) + 200 * np.sin(z / 8)
    return Volume(values.reshape(on.shape).astype(np.int16), on)


def blocks(on: Grid) -> Volume:
    """Sample labels of the world, in blocks of about 12 mm, on a grid."""
    places = np.floor(on.to_world(indices(on.shape)) / 12).astype(int)
    return Volume((places @ [1, 3, 5] % 7).reshape(on.shape).astype(np.int32), on)
