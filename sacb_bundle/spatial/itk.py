"""Convert between the types of this package (RAS, mm) and those of ITK (LPS, mm)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..errors import InputError
from .displacement_field import DisplacementField
from .grid import RAS_TO_LPS, Grid
from .volume import Volume

# Sign of each component of a vector when it goes from RAS to LPS, or back.
SIGNS = torch.tensor(np.diag(RAS_TO_LPS), dtype=torch.float32)


def itk_path(path: Path) -> str:
    """Return a path for SimpleITK, which would end the process at a name that is not UTF-8.

    Args:
        path: path of a file to read or write.

    Returns:
        The path as text.

    Raises:
        InputError: if the path is not UTF-8.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: its name is not UTF-8, which SimpleITK needs; rename it.") from error
    return str(path)


def placed(image: sitk.Image, grid: Grid) -> sitk.Image:
    """Give an ITK image the position of a grid, and return it.

    Args:
        image: 3-D image, changed in place.
        grid: grid of the image's shape.

    Returns:
        The same image.
    """
    origin, spacing, direction = grid.itk_geometry
    image.SetOrigin(origin)
    image.SetSpacing(spacing)
    image.SetDirection(direction)
    return image


def itk_grid(image: sitk.Image | sitk.ImageFileReader) -> Grid:
    """Return the grid of the first three axes of an ITK image, or of the header that a reader has read.

    Args:
        image: image of at least three dimensions, or a reader of one after `ReadImageInformation`.

    Returns:
        The grid, whose affine is in mm, RAS.
    """
    dimension = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(dimension, dimension)[:3, :3]
    return Grid.from_itk(image.GetSize()[:3], image.GetOrigin()[:3], image.GetSpacing()[:3], direction)


def itk_image(volume: Volume) -> sitk.Image:
    """Convert a volume to an ITK image with the same voxels.

    Args:
        volume: volume of any byte order.

    Returns:
        The image, positioned in LPS, in the data type of the volume.
    """
    values = volume.values.astype(volume.values.dtype.newbyteorder("="), copy=False)
    return placed(sitk.GetImageFromArray(values.transpose(2, 1, 0)), volume.grid)


def itk_field(displacement: DisplacementField) -> sitk.Image:
    """Convert a displacement field to an ITK image of vectors.

    Args:
        displacement: displacement field on any device, in mm, RAS.

    Returns:
        The image of fp64 vectors, in mm, LPS.
    """
    vectors = displacement.vectors.cpu().double() * SIGNS.reshape(3, 1, 1, 1)
    array = vectors.permute(3, 2, 1, 0).numpy()
    return placed(sitk.GetImageFromArray(array, isVector=True), displacement.grid)


def of_itk_field(image: sitk.Image, device: torch.device | str = "cpu") -> DisplacementField:
    """Convert an ITK image of displacement vectors to a displacement field.

    Args:
        image: 3-D image of vectors, in mm, LPS.
        device: device of the result.

    Returns:
        The displacement field, fp32, in mm, RAS.
    """
    vectors = torch.from_numpy(sitk.GetArrayFromImage(image)).permute(3, 2, 1, 0).float()
    return DisplacementField((vectors * SIGNS.reshape(3, 1, 1, 1)).contiguous().to(device), itk_grid(image))


def itk_affine(matrix: np.ndarray) -> sitk.AffineTransform:
    """Convert an affine matrix to an ITK transform.

    Args:
        matrix: 4x4 matrix between world coordinates in mm, RAS.

    Returns:
        The same map between world coordinates in mm, LPS.
    """
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((RAS_TO_LPS @ matrix[:3, :3] @ RAS_TO_LPS).ravel().tolist())
    affine.SetTranslation((RAS_TO_LPS @ matrix[:3, 3]).tolist())
    return affine


def to_ras(transform: sitk.Transform) -> np.ndarray:
    """Convert an affine ITK transform to a matrix, from where it moves four points.

    Args:
        transform: 3-D transform that is affine, between world coordinates in mm, LPS.

    Returns:
        The 4x4 matrix of the same map between world coordinates in mm, RAS.
    """
    corners = np.vstack([np.zeros(3), np.eye(3)])
    moved = np.array([transform.TransformPoint((RAS_TO_LPS @ corner).tolist()) for corner in corners]) @ RAS_TO_LPS
    matrix = np.eye(4)
    matrix[:3, 3] = moved[0]
    matrix[:3, :3] = (moved[1:] - moved[0]).T
    return matrix
