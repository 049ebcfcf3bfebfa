"""Read headers and voxels of NIfTI files, and check one against the other."""

from __future__ import annotations

import hashlib
import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.volumeutils import apply_read_scaling

from ..errors import InputError
from ..file_kinds import LONGEST_MARK, NIFTI, kind_of
from ..files import BLOCK_BYTES, check_file
from .gzip_stream import GZIP_MAGIC, GzipStream
from .nifti import is_compressed
from .nifti_header import LONGEST_HEADER_BYTES, check_nifti, header_of, not_nifti

# Bytes that one byte of gzip can hold.
DEFLATE_LIMIT = 1032
# Buffer of decompressed bytes, small so that reading a header decompresses little.
_BUFFER_BYTES = 2**16
# Bytes after the voxels that are read for the checksum and ignored, in addition to as many as the voxels have.
_LARGEST_REST = 2**26

logger = logging.getLogger(__name__)


def read_nifti_header(path: Path) -> nib.Nifti1Header:
    """Read the header of a NIfTI file, several times faster than nibabel's `load`, which tries every format.

    Args:
        path: path of the file.

    Returns:
        The header, repaired as by `read_nifti`, but without log messages.

    Raises:
        InputError: for the same reasons as in `read_nifti`, as far as the header and the size of the file show.
    """
    with _opened(path, told=False) as (header, _, _):
        return header


@np.errstate(all="ignore")  # for values that are infinite or NaN, which are refused later
def read_nifti(path: Path) -> tuple[nib.Nifti1Header, np.ndarray, str]:
    """Read a NIfTI file.

    Args:
        path: path of the file.

    Returns:
        The header, the voxels, of any shape, scaled as the header says, and the SHA-256 of the file.

    Raises:
        InputError: if there is no such file, it is not a NIfTI file, or its content does not match its header.
        EOFError: if a compressed file is cut short.
        isal.igzip_lib.IsalError: if a compressed file is damaged.
    """
    with _opened(path, told=True) as (header, stream, file):
        stream.seek(header.get_data_offset())
        stored = np.frombuffer(_read_voxels(stream, header, path), header.get_data_dtype())
        _read_rest(stream, header, path)
        digest = hashlib.sha256()
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    slope, intercept = header.get_slope_inter()
    array = stored.reshape(header.get_data_shape(), order="F")
    scale = (np.float64(1 if slope is None else slope), np.float64(0 if intercept is None else intercept))
    return header, apply_read_scaling(array, *scale), digest.hexdigest()


@contextmanager
def open_nifti(path: Path) -> Iterator[ArrayProxy]:
    """Open the array of a NIfTI file for reading from its first voxel to its last.

    A compressed file is decompressed once, as its voxels are read. After the last one, the checksum is verified.

    Args:
        path: path of the file.

    Yields:
        Array whose voxels are read when it is indexed.

    Raises:
        InputError: for the same reasons as in `read_nifti`.
    """
    with _opened(path, told=False) as (header, stream, _):
        yield ArrayProxy(stream, header, mmap=False)
        _read_rest(stream, header, path)


@contextmanager
def _opened(path: Path, told: bool) -> Iterator[tuple[nib.Nifti1Header, BinaryIO, BinaryIO]]:
    """Open a NIfTI file, and check its header against the size of the file.

    Args:
        path: path of the file.
        told: whether to log what is repaired or ambiguous.

    Yields:
        The header, a stream of the decompressed bytes, and the file itself.
    """
    size = check_file(path)
    with open(path, "rb") as file:
        start = file.read(LONGEST_MARK)
        compressed = start.startswith(GZIP_MAGIC)
        _check_ending(start, compressed, path)
        stream = cast(BinaryIO, io.BufferedReader(GzipStream(file), _BUFFER_BYTES)) if compressed else file
        stream.seek(0)
        start = stream.read(LONGEST_HEADER_BYTES)
        if compressed and start.startswith(GZIP_MAGIC):
            raise InputError(f"{path}: is compressed twice; decompress it once.")
        header = header_of(start, str(path), told)
        if told:
            check_nifti(header, str(path))
        if _end_of_voxels(header) > (size * DEFLATE_LIMIT if compressed else size):
            raise _cut_short(header, f"it has {size} bytes", path)
        yield header, stream, file


def _check_ending(start: bytes, compressed: bool, path: Path) -> None:
    """Raise an InputError if the name of a file contradicts whether it is compressed."""
    if compressed and not is_compressed(path):
        raise InputError(f"{path}: is compressed by gzip, though its name does not end in .gz; rename it.")
    if is_compressed(path) and not compressed:
        if kind_of(start) == NIFTI:
            raise InputError(f"{path}: is not compressed, though its name ends in .gz; rename it.")
        raise not_nifti(start, str(path))


def _end_of_voxels(header: nib.Nifti1Header) -> int:
    """Return the number of bytes from the beginning of a file to the end of its voxels."""
    voxels = math.prod(int(size) for size in header.get_data_shape())
    return int(header.get_data_offset()) + voxels * header.get_data_dtype().itemsize


def _cut_short(header: nib.Nifti1Header, holds: str, path: Path) -> InputError:
    """Return the error for a file that ends before its last voxel."""
    return InputError(
        f"{path}: the file is damaged or cut short: its header announces shape {header.get_data_shape()}, so "
        f"{_end_of_voxels(header)} bytes, but {holds}."
    )


def _read_voxels(stream: BinaryIO, header: nib.Nifti1Header, path: Path) -> bytearray:
    """Read the voxels of a stream that is at their first byte, without allocating memory for more than it holds."""
    content = bytearray()
    missing = _end_of_voxels(header) - header.get_data_offset()
    while missing and (block := stream.read(min(BLOCK_BYTES, missing))):
        content += block
        missing -= len(block)
    if missing:
        raise _cut_short(header, f"it ends {missing} bytes before", path)
    return content


def _read_rest(stream: BinaryIO, header: nib.Nifti1Header, path: Path) -> None:
    """Read the bytes after the voxels, which other programs also ignore, so that the checksum is verified."""
    rest, most = 0, _end_of_voxels(header) + _LARGEST_REST
    while block := stream.read(BLOCK_BYTES):
        rest += len(block)
        if rest > most:
            raise InputError(
                f"{path}: holds more than twice the bytes that its header announces with the shape "
                f"{header.get_data_shape()}; its header is damaged."
            )
    if rest:
        logger.warning("%s: holds %d bytes after its last voxel, which are ignored.", path, rest)
