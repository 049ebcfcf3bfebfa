"""Recognise NIfTI files by their names, and write them."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from ..files import whole_file
from .grid import Grid

NIFTI_ENDINGS = (".nii", ".nii.gz")
# ISA-L's best level, which takes a fifth of zlib's time for files of nearly the same size.
COMPRESSION_LEVEL = 3


def is_nifti(path: Path) -> bool:
    """Tell by its name whether a file is a NIfTI file.

    Args:
        path: path of the file.

    Returns:
        True if it is a NIfTI file.
    """
    return path.name.lower().endswith(NIFTI_ENDINGS)


def is_compressed(path: Path) -> bool:
    """Tell by its name whether a file is compressed.

    Args:
        path: path of the file.

    Returns:
        True if it is compressed.
    """
    return path.name.lower().endswith(".gz")


def nifti_image(values: np.ndarray, grid: Grid, kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    """Make an image in mm whose qform and sform are the affine of a grid.

    Args:
        values: (D, H, W) array, or one with more axes.
        grid: grid of the first three axes.
        kind: class of the result, `nibabel.Nifti1Image` or `nibabel.Nifti2Image`.

    Returns:
        The image.
    """
    image = kind(values, grid.affine, dtype=values.dtype)
    image.set_sform(grid.affine, code=1)
    image.set_qform(grid.affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write a NIfTI file that appears only once it is complete.

    Args:
        image: image to write.
        path: path of the file; it is compressed if its name ends in .gz.
    """
    with whole_file(path) as unfinished:
        if not is_compressed(path):
            nib.save(image, unfinished)
            return
        with open(unfinished, "wb") as file, compressing(file) as stream:
            image.to_stream(stream)


def compressing(file: object) -> igzip.IGzipFile:
    """Open a stream that compresses what is written to it.

    Its header holds neither a name nor a time, so that the same voxels give the same bytes.

    Args:
        file: open binary file to write to.

    Returns:
        The stream.
    """
    return igzip.IGzipFile(filename="", mode="wb", compresslevel=COMPRESSION_LEVEL, fileobj=file, mtime=0)
