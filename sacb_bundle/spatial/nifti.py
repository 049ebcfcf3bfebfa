"""The NIfTI format, in bytes and as nibabel's images."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from ..errors import InputError
from ..files import whole_file
from .grid import Grid

NIFTI_ENDINGS = (".nii", ".nii.gz")
# A NIfTI-2 header; that of NIfTI-1 is shorter.
LONGEST_HEADER_BYTES = 540
GZIP_MAGIC = b"\x1f\x8b"
# ISA-L's best level, which takes a fifth of zlib's time for files of nearly the same size.
COMPRESSION_LEVEL = 3

logger = logging.getLogger(__name__)


def is_nifti(path: Path) -> bool:
    """Return whether the name of a file is that of a NIfTI file."""
    return path.name.lower().endswith(NIFTI_ENDINGS)


def is_compressed(path: Path) -> bool:
    """Return whether the name of a file is that of a compressed file."""
    return path.name.lower().endswith(".gz")


def _not_nifti(path: Path) -> InputError:
    """Return the error for a file that is not in the NIfTI format."""
    return InputError(f"{path}: not a NIfTI file.")


def nifti_of_bytes(content: bytes, path: Path) -> nib.Nifti1Image:
    """Parse the bytes of a NIfTI file.

    A compressed file is decompressed whole, so that its checksum is compared. (nibabel stops at the last voxel.)

    Args:
        content: all bytes of the file.
        path: name of the file, whose ending tells whether the bytes are compressed.

    Returns:
        image whose voxels are still as they are stored.

    Raises:
        InputError: if the bytes are not those of a NIfTI file.
    """
    if is_compressed(path):
        if not content.startswith(GZIP_MAGIC):
            raise _not_nifti(path)
        content = igzip.decompress(content)
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        if kind.header_class.may_contain_header(content):
            return kind.from_bytes(content)
    raise _not_nifti(path)


def read_nifti_header(path: Path) -> nib.Nifti1Header:
    """Read the header of a NIfTI file, several times faster than nibabel's `load`, which tries every format.

    Raises:
        InputError: if it is not a NIfTI file.
    """
    with open(path, "rb") as file:
        if is_compressed(path) and file.read(len(GZIP_MAGIC)) != GZIP_MAGIC:
            raise _not_nifti(path)
        file.seek(0)
        with igzip.open(file) if is_compressed(path) else file as stream:
            start = stream.read(LONGEST_HEADER_BYTES)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if kind.may_contain_header(start):
            return kind(start[: kind.sizeof_hdr], check=False)
    raise _not_nifti(path)


def check_nifti(header: nib.Nifti1Header, name: str) -> None:
    """Check the unit of length of a NIfTI header, and warn if it places the voxels ambiguously.

    The sform counts if its code is not 0, else the qform, as in nibabel.

    Raises:
        InputError: if lengths are not in mm.
    """
    units = header.get_xyzt_units()[0]
    if units not in ("mm", "unknown"):
        raise InputError(f"{name}: its lengths are in {units}s; mm are needed.")
    qform, sform = (header[code] > 0 for code in ("qform_code", "sform_code"))
    if not qform and not sform:
        logger.warning(
            "%s: neither qform nor sform is set. It is placed as nibabel does; other programs may differ.", name
        )
    if qform and sform and len(header.get_data_shape()) >= 3 and not _forms_agree(header):
        logger.warning("%s: its qform and sform disagree. The sform counts here; other programs may differ.", name)


def _forms_agree(header: nib.Nifti1Header) -> bool:
    """Return whether the qform and the sform of a header place its voxels alike."""
    shape = header.get_data_shape()[:3]
    try:
        return Grid(shape, header.get_qform()).coincides_with(Grid(shape, header.get_sform()))
    except ValueError:  # a quaternion that is none
        return False


def nifti_image(values: np.ndarray, grid: Grid, kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    """Make an image in mm whose qform and sform are the affine of a grid.

    Args:
        values: (D, H, W) array, or one with more axes.
        grid: grid of the first three axes.
        kind: class of the result, `nibabel.Nifti1Image` or `nibabel.Nifti2Image`.
    """
    image = kind(values, grid.affine, dtype=values.dtype)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a NIfTI file so that it appears whole or not at all."""
    with whole_file(path) as unfinished:
        if not is_compressed(path):
            nib.save(image, unfinished)
            return
        with open(unfinished, "wb") as file, compressing(file) as stream:
            image.to_stream(stream)


def compressing(file: object) -> igzip.IGzipFile:
    """Open a stream that compresses what is written to it.

    The stream has neither a name nor a time in its header, so that the same voxels are the same bytes.
    """
    return igzip.IGzipFile(filename="", mode="wb", compresslevel=COMPRESSION_LEVEL, fileobj=file, mtime=0)
