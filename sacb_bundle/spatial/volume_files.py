"""Read and write files of images and label maps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import SimpleITK as sitk
from isal import igzip_lib
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError
from ..files import check_file, file_hash
from .grid import Grid
from .itk import itk_grid, itk_path
from .itk_headers import check_meta_image, check_meta_voxels, check_nrrd
from .nifti import NIFTI_ENDINGS, is_nifti, nifti_image, write_nifti
from .nifti_files import read_nifti, read_nifti_header
from .volume import (
    Volume,
    as_image,
    as_label_map,
    checked_grid,
    checked_volume,
    hash_of_voxels,
    hint_at_apply,
    without_trailing_ones,
)

_META_ENDINGS = (".mha", ".mhd")
# Endings, SimpleITK's name and header check of each format that it reads.
_ITK_FORMATS = (
    (_META_ENDINGS, "MetaImageIO", check_meta_image),
    ((".nrrd", ".nhdr"), "NrrdImageIO", check_nrrd),
)
ITK_ENDINGS = tuple(ending for endings, _, _ in _ITK_FORMATS for ending in endings)
VOLUME_ENDINGS = (*NIFTI_ENDINGS, *ITK_ENDINGS)
# Errors that readers raise for a damaged file. (isal's stubs take its error for an instance.)
_DAMAGES: tuple[type[Exception], ...] = (EOFError, igzip_lib.IsalError, zlib.error)  # type: ignore[assignment]


def read_volume(path: str | Path) -> Volume:
    """Read one 3-D volume from NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) or NRRD (.nrrd, .nhdr).

    The file is opened once. Trailing axes of length 1 are dropped. The sform of a NIfTI header counts if its code is
    not 0, otherwise the qform, as in nibabel; a warning is logged if both are set and disagree.

    Args:
        path: path of the file.

    Returns:
        The volume, with the hash of the file, see `content_hash`.

    Raises:
        InputError: if there is no such file, it is damaged, it is not one volume of real numbers, or its axes are not
            at right angles.
    """
    path = Path(path)
    with reading_image(path):
        if is_nifti(path):
            header, values, sha256 = read_nifti(path)
            return checked_volume(values, header.get_best_affine(), str(path), sha256)
        volume = volume_of_itk(read_itk(path), str(path))
        return replace(volume, sha256=hash_of_voxels(volume))


def read_image(path: str | Path) -> Volume:
    """Read a volume that can be registered.

    Args:
        path: path of the file, in a format that `read_volume` takes.

    Returns:
        The volume, with the hash of the file.

    Raises:
        InputError: for the same reasons as in `read_volume` and `as_image`.
    """
    return as_image(read_volume(path), path)


def read_label_map(path: str | Path) -> Volume:
    """Read a label map.

    Args:
        path: path of the file, in a format that `read_volume` takes.

    Returns:
        The label map as int32, with the hash of the file.

    Raises:
        InputError: for the same reasons as in `read_volume` and `as_label_map`.
    """
    return as_label_map(read_volume(path), path)


def read_grid(path: str | Path) -> Grid:
    """Read the grid of one 3-D volume from the header of its file.

    Args:
        path: path of the file, in a format that `read_volume` takes.

    Returns:
        The grid, without trailing axes of length 1.

    Raises:
        InputError: for the same reasons as in `read_volume`, as far as the header shows.
    """
    path = Path(path)
    with reading_image(path):
        if is_nifti(path):
            header = read_nifti_header(path)
            return checked_grid(header.get_data_shape(), header.get_best_affine(), str(path))
        return _read_itk_grid(path)


def content_hash(path: str | Path) -> str:
    """Hash the content of a file.

    It is the hash of the bytes of a file, or of the voxels and the grid in the formats that SimpleITK reads (.mha,
    .mhd, .nrrd, .nhdr), some of which keep voxels in other files.

    Args:
        path: path of the file.

    Returns:
        The SHA-256, in hexadecimal: the `sha256` of the volume that is read from the file.

    Raises:
        InputError: if the file cannot be read.
    """
    path = Path(path)
    if path.name.lower().endswith(ITK_ENDINGS):
        return read_volume(path).sha256
    return file_hash(path)


def volume_name(path: str | Path) -> str:
    """Name a file without the ending of its format.

    Args:
        path: path of the file, which need not exist.

    Returns:
        The name.
    """
    name = Path(path).name
    endings = sorted(VOLUME_ENDINGS, key=len, reverse=True)
    return next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), name)


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a NIfTI file whose qform and sform both hold the affine; it appears only once it is complete.

    Args:
        volume: image or label map.
        path: path of the file, .nii or .nii.gz.

    Raises:
        InputError: if the file cannot be written.
    """
    write_nifti(nifti_image(volume.values, volume.grid), Path(path))


@contextmanager
def reading_image(path: Path) -> Iterator[None]:
    """Read an image file in the block of a `with` statement.

    Args:
        path: path of the file.

    Yields:
        Nothing.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    with reading_voxels(str(path)):
        check_file(path)
        yield


@contextmanager
def reading_voxels(name: str) -> Iterator[None]:
    """Read the header or the voxels of an image in the block of a `with` statement.

    Args:
        name: name of the image in error messages.

    Yields:
        Nothing.

    Raises:
        InputError: if they cannot be read.
    """
    try:
        yield
    except InputError:
        raise
    except PermissionError as error:
        raise InputError(f"{name}: permission to read it is denied.") from error
    except MemoryError as error:
        raise InputError(f"{name}: its voxels need more memory than is available.") from error
    except _DAMAGES as error:
        raise InputError(f"{name}: the file is damaged or cut short.") from error
    except (OSError, RuntimeError, HeaderDataError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{name}: cannot be read; it may be damaged or cut short: {reason}") from error


def read_itk(path: Path) -> sitk.Image:
    """Read a file in a format that SimpleITK reads.

    Args:
        path: path of an existing file.

    Returns:
        The image, of any dimension and type.

    Raises:
        InputError: if the file has another ending, or its content or data files do not match its header.
        RuntimeError: if it is damaged.
    """
    reader = _itk_reader(path)
    if path.name.lower().endswith(_META_ENDINGS):
        check_meta_voxels(path)
    return reader.Execute()


def _itk_reader(path: Path) -> sitk.ImageFileReader:
    """Return a reader of a file, after checking its header against its data.

    Raises:
        InputError: as in `read_itk`.
    """
    for endings, name, check in _ITK_FORMATS:
        if path.name.lower().endswith(endings):
            check(path)
            reader = sitk.ImageFileReader()
            reader.SetImageIO(name)  # which ITK would choose by the ending, in lower case
            reader.SetFileName(itk_path(path))
            return reader
    raise InputError(f"{path}: only {', '.join(VOLUME_ENDINGS)} are read.")


def volume_of_itk(image: sitk.Image, name: str) -> Volume:
    """Convert an ITK image of one 3-D volume, possibly with trailing axes of length 1.

    Args:
        image: ITK image.
        name: name of the image in error messages.

    Returns:
        The volume.

    Raises:
        InputError: for the same reasons as in `checked_volume`.
    """
    size, channels = image.GetSize(), image.GetNumberOfComponentsPerPixel()
    spatial = without_trailing_ones(size)
    if len(spatial) != 3 or channels != 1:
        raise InputError(
            f"{name}: has {len(spatial)} dimensions and {channels} values a voxel; one 3-D volume is "
            f"needed{hint_at_apply(len(spatial) >= 3)}."
        )
    values = sitk.GetArrayFromImage(image).transpose()
    return checked_volume(values, itk_grid(image).affine, name)


def _read_itk_grid(path: Path) -> Grid:
    """Read the grid of a file that SimpleITK reads."""
    reader = _itk_reader(path)
    reader.ReadImageInformation()
    shape, channels = reader.GetSize(), reader.GetNumberOfComponents()
    if reader.GetDimension() < 3 or channels != 1:
        raise InputError(
            f"{path}: has shape {shape}, {channels} values a voxel; one 3-D volume is "
            f"needed{hint_at_apply(reader.GetDimension() >= 3)}."
        )
    return checked_grid(shape, itk_grid(reader).affine, str(path))
