"""Images and label maps as values in memory, with their position in the world."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field, replace

import nibabel as nib
import numpy as np

from ..errors import InputError
from .grid import Grid

LARGEST_LABEL = 2**24
# Largest difference from a whole number after scaling a label map in fp32: relative, and absolute.
ROUNDING, LARGEST_ROUNDING = 4 * np.finfo(np.float32).eps, 0.01
# An affine counts as free of shear up to this cosine between its axes; rounding in headers gives 1e-5.
LARGEST_SHEAR_COSINE = 1e-3

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and their position in the world.

    Attributes:
        values: (D, H, W) array of real numbers, scaled as the header of the file says.
        grid: grid of the same shape.
        sha256: hash of the file that the volume was read from, see `content_hash`; empty for a volume made in memory.
    """

    values: np.ndarray = field(repr=False)
    grid: Grid
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.values.shape != tuple(self.grid.shape):
            raise InputError(f"The values of a volume have shape {self.values.shape}, but its grid {self.grid.shape}.")


def checked_volume(values: np.ndarray, affine: np.ndarray, name: str, sha256: str = "") -> Volume:
    """Make one 3-D volume of an array and an affine, and check both.

    Args:
        values: (D, H, W) array, possibly with trailing axes of length 1, which are dropped.
        affine: 4x4 matrix from voxel indices to world coordinates, in mm, RAS.
        name: name of the image in error messages.
        sha256: hash of the content.

    Returns:
        The volume.

    Raises:
        InputError: if the voxels are not real numbers, there is more or less than one 3-D volume, or the axes of the
            affine are not at right angles.
    """
    check_real(values.dtype, name)
    grid = checked_grid(values.shape, affine, name)
    return Volume(values.reshape(grid.shape), grid, sha256)


def check_real(dtype: np.dtype, name: str) -> None:
    """Check that voxels are real numbers.

    Args:
        dtype: type of the voxels.
        name: name of the image in error messages.

    Raises:
        InputError: if they are not.
    """
    if dtype.kind not in "iuf":
        raise InputError(f"{name}: its voxels are of type {dtype}; real numbers are needed.")


def checked_grid(shape: tuple[int, ...], affine: np.ndarray, name: str) -> Grid:
    """Make the grid of one 3-D volume, and check it.

    Args:
        shape: shape of the array, possibly with trailing axes of length 1, which are dropped.
        affine: 4x4 matrix from voxel indices to world coordinates, in mm, RAS.
        name: name of the image in error messages.

    Returns:
        The grid.

    Raises:
        InputError: if the shape is not that of one 3-D volume, or the axes of the affine are not at right angles.
    """
    spatial = without_trailing_ones(shape)
    if len(spatial) != 3 or 1 in spatial:
        raise InputError(f"{name}: has shape {shape}; one 3-D volume is needed{hint_at_apply(len(spatial) > 3)}.")
    return Grid(spatial, checked_affine(affine, name))


def without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Drop axes of length 1 after the third axis from the end of a shape.

    Args:
        shape: shape of an array.

    Returns:
        The shape without them.
    """
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def hint_at_apply(is_series: bool) -> str:
    """Explain what to do with an image of several 3-D volumes.

    Args:
        is_series: whether the image is one.

    Returns:
        The end of an error message; "" for another image.
    """
    return "; to warp a series, register one of its volumes and give the series to `sacb apply`" if is_series else ""


def checked_affine(affine: np.ndarray, name: str) -> np.ndarray:
    """Check that an affine has an inverse and no shear.

    Args:
        affine: 4x4 matrix from voxel indices to world coordinates, in mm, RAS.
        name: name of the image in error messages.

    Returns:
        The affine as fp64.

    Raises:
        InputError: if it has no inverse, or has shear.
    """
    matrix = affine[:3, :3]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(matrix) < 3:
        raise InputError(f"{name}: its affine has no inverse, so its voxels have no position in the world.")
    axes = matrix / np.linalg.norm(matrix, axis=0)
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > LARGEST_SHEAR_COSINE:
        raise InputError(
            f"{name}: its axes are not at right angles (cosine {shear:.3f}); ITK's formats cannot hold such an image. "
            "Resample it to an affine without shear first."
        )
    return np.asarray(affine, dtype=np.float64)


def as_finite(volume: Volume, name: object) -> Volume:
    """Check that the voxels of a volume can be interpolated.

    Args:
        volume: image of any type of real numbers.
        name: file or name of the image in error messages.

    Returns:
        The volume.

    Raises:
        InputError: if voxels are NaN, infinite, or too large for fp32.
    """
    if volume.values.dtype.kind == "f":
        wrong = np.count_nonzero(~(np.abs(volume.values) <= np.finfo(np.float32).max))
        if wrong:
            raise InputError(f"{name}: {wrong} voxels are NaN, infinite or beyond what fp32 holds.")
    return volume


def as_image(volume: Volume, name: object) -> Volume:
    """Check that a volume can be registered.

    Args:
        volume: image of any type of real numbers.
        name: file or name of the image in error messages.

    Returns:
        The volume.

    Raises:
        InputError: if voxels are NaN, infinite, or too large for fp32, or if all voxels are equal.
    """
    as_finite(volume, name)
    if volume.values.min() == volume.values.max():
        raise InputError(f"{name}: every voxel is {volume.values.flat[0]:g}; a constant image cannot be registered.")
    return volume


def as_label_map(volume: Volume, name: object) -> Volume:
    """Return a label map as int32.

    Args:
        volume: label map of any type of real numbers. Values that differ from a whole number by fp32 rounding, as after
            scaling, are rounded.
        name: file or name of the label map in error messages.

    Returns:
        The label map, with the same grid and hash.

    Raises:
        InputError: if a voxel is not a whole number from 0 to 2**24.
    """
    values = volume.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name}: a label map holds whole numbers from 0; this file has NaN or infinite ones.")
    if values.max() > LARGEST_LABEL:
        raise InputError(f"{name}: label {values.max():g} is too large; labels go up to {LARGEST_LABEL}.")
    wrong = (_fractions(values) if values.dtype.kind == "f" else False) | (values <= -0.5)
    if wrong.any():
        is_soft = values.min() >= 0 and values.max() <= 1
        hint = " Is it a probability map? Threshold it first." if is_soft else ""
        raise InputError(
            f"{name}: a label map holds whole numbers from 0; this file has others, from {values.min():g} to "
            f"{values.max():g}, such as {values[wrong][0]:.9g}.{hint}"
        )
    whole = np.round(values) if values.dtype.kind == "f" else values
    return replace(volume, values=whole.astype(np.int32))


def is_label(text: str) -> bool:
    """Tell whether a text is a label value.

    Args:
        text: text such as a key of a JSON object.

    Returns:
        True if it is a whole number from 0 to 2**24.
    """
    return text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= LARGEST_LABEL


def _fractions(values: np.ndarray) -> np.ndarray:
    """Return where finite numbers are not whole, apart from fp32 rounding."""
    allowed = np.minimum(ROUNDING * np.maximum(np.abs(values), 1), LARGEST_ROUNDING)
    return np.abs(values - np.round(values)) > allowed


def as_mask(volume: Volume, name: object) -> Volume:
    """Return a mask, which is nonzero where the image counts.

    Args:
        volume: mask of any type of real numbers: a label map, or fractions from 0 to 1, which are compared with 0.5.
        name: file or name of the mask in messages.

    Returns:
        The mask as int32, with the same grid and hash.

    Raises:
        InputError: if it is neither, see `as_label_map`.
    """
    values = volume.values
    if values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1 and _fractions(values).any():
        logger.warning("%s: holds fractions from 0 to 1. The mask is where they are at least 0.5.", name)
        return replace(volume, values=(values >= 0.5).astype(np.int32))
    return as_label_map(volume, name)


def canonical(volume: Volume) -> Volume:
    """Flip and permute the axes of a volume so that they run closest to right, anterior and superior.

    Args:
        volume: volume of any orientation.

    Returns:
        A volume that shows the same world; its values are a view.
    """
    orientation = nib.orientations.io_orientation(volume.grid.affine)
    values = nib.orientations.apply_orientation(volume.values, orientation)
    affine = volume.grid.affine @ nib.orientations.inv_ornt_aff(orientation, volume.grid.shape)
    return replace(volume, values=values, grid=Grid(values.shape, affine))


def hash_of_voxels(volume: Volume) -> str:
    """Hash the voxels of a volume, their type and its grid.

    Args:
        volume: volume of any type of real numbers.

    Returns:
        The SHA-256, in hexadecimal.
    """
    digest = hashlib.sha256(np.ascontiguousarray(volume.values).data)
    digest.update(repr((volume.grid.shape, volume.grid.affine.tolist(), volume.values.dtype.str)).encode())
    return digest.hexdigest()
