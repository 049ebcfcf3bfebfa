"""Images and label maps with their place in the world, from and to files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from isal import igzip, isal_zlib
from nibabel.filebasedimages import FileBasedImage, ImageFileError
from nibabel.spatialimages import HeaderDataError

from ..errors import InputError
from ..files import whole_file
from .grid import Grid

NIFTI_ENDINGS = (".nii", ".nii.gz")
ITK_ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")
VOLUME_ENDINGS = (*NIFTI_ENDINGS, *ITK_ENDINGS)
LARGEST_LABEL = 2**24
# In bytes, of NIfTI-2.
LONGEST_HEADER = 540
# Cosine between axes up to which an affine counts as free of shear: rounding in headers gives 1e-5.
LARGEST_SHEAR = 1e-3
# ISA-L's best, a fifth of zlib's time for files of nearly the same size.
COMPRESSION = 3

Content = TypeVar("Content")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they lie.

    Attributes:
        values: (D, H, W), real numbers, scaled as the file's header says.
        grid: its shape is that of the values.
    """

    values: np.ndarray
    grid: Grid


def read_volume(path: str | Path) -> Volume:
    """Read one 3-D volume from NIfTI (.nii, .nii.gz), MetaImage (.mha, .mhd) or NRRD (.nrrd, .nhdr).

    Trailing axes of length 1 are dropped. Of a NIfTI header the sform counts if its code is not 0, else the qform, as
    in nibabel; where both are set and disagree, a warning says so.

    Raises:
        InputError: if there is no such file, it is damaged, not a volume of real numbers, or its axes are not at right
            angles.
    """
    path = Path(path)
    values, affine = read_voxels(path)
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: its voxels are of type {values.dtype}; real numbers are needed.")
    grid = checked_grid(values.shape, affine, path)
    return Volume(values.reshape(grid.shape), grid)


def read_grid(path: str | Path) -> Grid:
    """Where the voxels of a file lie, by its header alone.

    Raises:
        InputError: as `read_volume`, as far as a header tells.
    """
    path = Path(path)
    return checked_grid(*read_file(path, read_nifti_header, read_itk_header), path)


def read_voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a file, of any shape.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    return read_file(path, read_nifti, read_itk)


def read_file(path: Path, nifti: Callable[[Path], Content], itk: Callable[[Path], Content]) -> Content:
    """What the reader of the file's format makes of it.

    Raises:
        InputError: if there is no such file, or it is damaged.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        return (nifti if path.name.lower().endswith(NIFTI_ENDINGS) else itk)(path)
    except PermissionError as error:
        raise InputError(f"{path}: may not be read.") from error
    except (EOFError, OSError, OverflowError, isal_zlib.error, HeaderDataError, ValueError, RuntimeError) as error:  # type: ignore[misc]
        # (isal's stubs take its error for an instance.)
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the file is damaged or cut short.") from error


def checked_grid(shape: tuple[int, ...], affine: np.ndarray, path: Path) -> Grid:
    """Grid of one 3-D volume, without trailing axes of length 1."""
    spatial = shape
    while len(spatial) > 3 and spatial[-1] == 1:
        spatial = spatial[:-1]
    if len(spatial) != 3 or 1 in spatial:
        raise InputError(f"{path}: has shape {shape}; one 3-D volume is needed.")
    return Grid(spatial, checked_affine(affine, path))


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a NIfTI file."""
    if path.name.lower().endswith(".gz"):
        image = read_compressed_nifti(path)
    else:
        try:
            image = nib.load(path)
        except ImageFileError as error:
            raise InputError(f"{path}: not a NIfTI file.") from error
    if not isinstance(image, nib.Nifti1Pair):
        raise InputError(f"{path}: not a NIfTI file.")
    values = np.asanyarray(image.dataobj)
    units = image.header.get_xyzt_units()[0]
    if units not in ("mm", "unknown"):
        raise InputError(f"{path}: its lengths are in {units}s; mm are needed.")
    qform, sform = (image.header[name] > 0 for name in ("qform_code", "sform_code"))
    if not qform and not sform:
        logger.warning(
            "%s: neither qform nor sform is set. It is placed as nibabel does; other programs may differ.", path
        )
    if qform and sform and len(values.shape) >= 3:
        try:
            shape = values.shape[:3]
            agree = Grid(shape, image.get_qform()).coincides_with(Grid(shape, image.get_sform()))
        except ValueError:  # a quaternion that is none
            agree = False
        if not agree:
            logger.warning("%s: its qform and sform disagree. The sform counts here; other programs may differ.", path)
    return values, image.affine


def read_compressed_nifti(path: Path) -> FileBasedImage:
    """Read a gzip file whole, which compares its checksum; nibabel would stop at the last voxel."""
    with open(path, "rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            raise InputError(f"{path}: not a NIfTI file.")
    with igzip.open(path) as stream:
        content = stream.read()
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(content):
            return kind.from_bytes(content)
    raise InputError(f"{path}: not a NIfTI file.")


def read_nifti_header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a NIfTI file, several times faster than by nibabel's `load`, which tries every format."""
    with igzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as stream:
        start = stream.read(LONGEST_HEADER)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(start):
            header = kind(start[: kind.sizeof_hdr], check=False)
            return header.get_data_shape(), header.get_best_affine()
    raise InputError(f"{path}: not a NIfTI file.")


def check_itk_ending(path: Path) -> None:
    """Raise an InputError unless SimpleITK is to read such a file."""
    if not path.name.lower().endswith(ITK_ENDINGS):
        raise InputError(f"{path}: only {', '.join(VOLUME_ENDINGS)} are read.")


def read_itk_header(path: Path) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of a file that SimpleITK reads."""
    check_itk_ending(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    shape = reader.GetSize()
    dimension = reader.GetDimension()
    if dimension < 3 or reader.GetNumberOfComponents() != 1:
        raise InputError(
            f"{path}: has shape {shape}, {reader.GetNumberOfComponents()} values a voxel; one 3-D volume is needed."
        )
    direction = np.array(reader.GetDirection()).reshape(dimension, dimension)[:3, :3]
    return shape, Grid.from_itk(shape[:3], reader.GetOrigin()[:3], reader.GetSpacing()[:3], direction).affine


def read_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine of a file that SimpleITK reads."""
    check_itk_ending(path)
    image = sitk.ReadImage(str(path))
    while image.GetDimension() > 3 and image.GetSize()[-1] == 1:
        image = sitk.Extract(image, (*image.GetSize()[:-1], 0), [0] * image.GetDimension())
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(
            f"{path}: has {image.GetDimension()} dimensions and {image.GetNumberOfComponentsPerPixel()} "
            "values a voxel; one 3-D volume is needed."
        )
    grid = Grid.from_itk(image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), grid.affine


def checked_affine(affine: np.ndarray, path: Path) -> np.ndarray:
    """The affine, if it has an inverse and no shear."""
    matrix = affine[:3, :3]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(matrix) < 3:
        raise InputError(f"{path}: its affine has no inverse, so that voxels have no place in the world.")
    axes = matrix / np.linalg.norm(matrix, axis=0)
    shear = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if shear > LARGEST_SHEAR:
        raise InputError(
            f"{path}: its axes are not at right angles (cosine {shear:.3f}); ITK's formats cannot hold such an image. "
            "Resample it to an affine without shear first."
        )
    return np.asarray(affine, dtype=np.float64)


def volume_name(path: str | Path) -> str:
    """File name without the ending of its format."""
    name = Path(path).name
    endings = sorted(VOLUME_ENDINGS, key=len, reverse=True)
    return next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), name)


def read_finite(path: str | Path) -> Volume:
    """`read_volume` of what can be interpolated.

    Raises:
        InputError: also if it has voxels that are NaN, infinite, or too large for fp32.
    """
    volume = read_volume(path)
    if volume.values.dtype.kind == "f":
        wrong = np.count_nonzero(~(np.abs(volume.values) <= np.finfo(np.float32).max))
        if wrong:
            raise InputError(f"{path}: {wrong} voxels are NaN, infinite or beyond what fp32 holds.")
    return volume


def read_image(path: str | Path) -> Volume:
    """`read_finite` of an image to register.

    Raises:
        InputError: also if it is constant.
    """
    volume = read_finite(path)
    if volume.values.min() == volume.values.max():
        raise InputError(f"{path}: every voxel is {volume.values.flat[0]:g}; a constant image cannot be registered.")
    return volume


def read_label_map(path: str | Path) -> Volume:
    """`read_volume` of a label map, whose values become int32.

    Raises:
        InputError: also if a voxel is not a whole number from 0 to 2**24.
    """
    volume = read_volume(path)
    values = volume.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{path}: a label map holds whole numbers from 0; this file has NaN or infinite ones.")
    if values.max() > LARGEST_LABEL:
        raise InputError(f"{path}: label {values.max():g} is too large; labels go up to {LARGEST_LABEL}.")
    if values.min() < 0 or (values.dtype.kind == "f" and not np.array_equal(values, np.round(values))):
        raise InputError(
            f"{path}: a label map holds whole numbers from 0; "
            f"this file has others, from {values.min():g} to {values.max():g}."
        )
    return Volume(values.astype(np.int32), volume.grid)


def write_volume(volume: Volume, path: Path) -> None:
    """Write a NIfTI file, whole or not at all; qform and sform both say where it lies."""
    write_nifti(nifti_image(volume.values, volume.grid), path)


def nifti_image(values: np.ndarray, grid: Grid) -> nib.Nifti1Image:
    """Image in mm whose qform and sform are the grid's affine."""
    image = nib.Nifti1Image(values, grid.affine, dtype=values.dtype)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a NIfTI file so that it appears whole or not at all."""
    with whole_file(path) as unfinished:
        if not path.name.lower().endswith(".gz"):
            nib.save(image, unfinished)
            return
        with (
            open(unfinished, "wb") as file,
            # Neither a name nor a time in the header: the same voxels are the same bytes.
            igzip.IGzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0) as stream,
        ):
            image.to_stream(stream)
