"""Check the headers of MetaImage and NRRD files against their data before ITK reads them.

ITK allocates memory for all voxels that a header announces, and opens whatever data file it names.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..file_kinds import LONGEST_MARK, kind_of
from ..files import BLOCK_BYTES, check_file
from .nifti_files import DEFLATE_LIMIT

_LONGEST_HEADER_BYTES = 2**20
_LARGEST_NUMBER_OF_FILES = 2**16
_LONGEST_LINE_BYTES = 1024
# First letters of values that mean true.
_TRUE = ("T", "t", "1")
# Bytes of voxels in a byte of text: 8 in a digit and a space.
_TEXT_LIMIT = 4
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
# Words in the names of NRRD's types; the first one that occurs counts.
_NRRD_BYTES = {"64": 8, "longlong": 8, "long long": 8, "double": 8, "16": 2, "short": 2, "int8": 1, "char": 1}
# Bytes of voxels that one byte in the file can hold.
_NRRD_ENCODINGS = {
    "raw": 1, "hex": 1, "gzip": DEFLATE_LIMIT, "gz": DEFLATE_LIMIT,
    "text": _TEXT_LIMIT, "txt": _TEXT_LIMIT, "ascii": _TEXT_LIMIT,
}  # fmt: skip


@dataclass(frozen=True)
class _MetaData:
    """Layout of the data of a MetaImage, from its header.

    Attributes:
        voxels: number of values.
        announced: bytes of all values.
        compressed: whether they are compressed.
        binary: whether they are bytes, and not text.
        files: files that hold them.
        skipped: bytes before them in each file.
        size: bytes of the compressed data, or more.
    """

    voxels: int
    announced: int
    compressed: bool
    binary: bool
    files: list[Path]
    skipped: int
    size: int


def check_meta_image(path: Path) -> None:
    """Check that the header of a MetaImage announces no more voxels than its data files can hold.

    Args:
        path: path of an existing file, .mha or .mhd.

    Raises:
        InputError: if the file is no MetaImage, or a data file is missing, not a regular file, or too short.
    """
    data = _meta_data(path)
    limit = DEFLATE_LIMIT if data.compressed else 1 if data.binary else _TEXT_LIMIT
    _check_room(data.announced, data.files, data.skipped, limit, path)


def check_meta_voxels(path: Path) -> None:
    """Check that a MetaImage that is compressed or text holds all voxels; ITK fills up with what memory held before.

    Args:
        path: path of a file that `check_meta_image` has passed.

    Raises:
        InputError: if voxels are missing.
    """
    data = _meta_data(path)
    if data.compressed and sum(_inflated(file, data.skipped, data.size) for file in data.files) < data.announced:
        raise InputError(f"{path}: the file is damaged or cut short: its compressed data do not hold all voxels.")
    if not data.binary and sum(_numbers(file, data.skipped) for file in data.files) < data.voxels:
        raise InputError(f"{path}: the file is damaged or cut short: its text does not hold all voxels.")


def _meta_data(path: Path) -> _MetaData:
    """Parse the header of a MetaImage.

    Raises:
        InputError: if it is not one, or ITK could not read its data.
    """
    start = _start(path)
    fields, end = _meta_fields(start, path)
    sizes, dimensions = fields.get("DimSize", ""), fields.get("NDims", "")
    if dimensions != str(len(sizes.split())):
        raise InputError(f"{path}: its NDims is {dimensions!r}, but its DimSize {sizes!r}.")
    channels = _count(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path)
    voxels = _count(sizes, "DimSize", path) * channels
    element = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    if element not in _META_BYTES:
        raise InputError(f"{path}: its ElementType is {fields.get('ElementType', 'missing')!r}; it is not supported.")
    compressed = fields.get("CompressedData", "False").startswith(_TRUE)
    binary = fields.get("BinaryData", "True").startswith(_TRUE)
    announced = voxels * _META_BYTES[element]
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if compressed and local and "CompressedDataSize" not in fields:
        raise InputError(f"{path}: its header lacks CompressedDataSize, without which ITK cannot read its data.")
    files, skipped = ([path], end) if local else (_data_files(name, start[end:], path), 0)
    size = _count(fields.get("CompressedDataSize", str(announced)), "CompressedDataSize", path)
    return _MetaData(voxels, announced, compressed, binary, files, skipped, size)


def _meta_fields(start: bytes, path: Path) -> tuple[dict[str, str], int]:
    """Return the fields in the header of a MetaImage, and where it ends.

    Raises:
        InputError: if it is not one.
    """
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end) + 1 or len(start)
        key, equals, value = start[end:line_end].decode("latin-1").partition("=")
        if not equals:
            raise _not_a("MetaImage", start, path, "the line ElementDataFile")
        fields[key.strip()] = value.strip()
        end = line_end
    _check_lines(start[:end], path)
    return fields, end


def _inflated(path: Path, start: int, size: int) -> int:
    """Return the number of bytes that are compressed in a part of a file; 0 if it is damaged."""
    inflate, held = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
    with open(path, "rb") as file, suppress(zlib.error):
        file.seek(start)
        while not inflate.eof and (block := inflate.unconsumed_tail or file.read(min(size, BLOCK_BYTES))):
            size -= 0 if inflate.unconsumed_tail else len(block)
            held += len(inflate.decompress(block, BLOCK_BYTES))
    return held if inflate.eof else 0


def _numbers(path: Path, start: int) -> int:
    """Return the number of words in a text file from a position on."""
    with open(path, "rb") as file:
        file.seek(start)
        return sum(len(line.split()) for line in file)


def check_nrrd(path: Path) -> None:
    """Check that the header of an NRRD file announces no more voxels than its data files can hold.

    Args:
        path: path of an existing file, .nrrd or .nhdr.

    Raises:
        InputError: if the file is no NRRD file, or a data file is missing, not a regular file, or too short.
    """
    start = _start(path)
    blank = re.search(rb"\r?\n\r?\n", start)
    header = start[: blank.start()] if blank else start
    _check_lines(header, path)
    first, *lines = header.decode("latin-1").splitlines()
    fields, names = dict[str, str](), list[str]()
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and not value.startswith("=") and not line.startswith("#") and "data file" not in fields:
            fields[key.strip().lower().replace("datafile", "data file")] = value.strip()
        elif "data file" in fields:
            names.append(line)
    if not first.startswith("NRRD") or "type" not in fields:
        raise _not_a("NRRD file", start, path, "its type")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_ENCODINGS:
        raise InputError(f"{path}: its encoding is {encoding!r}; supported are {', '.join(_NRRD_ENCODINGS)}.")
    kind = fields["type"].lower()
    size_of_type = next((size for word, size in _NRRD_BYTES.items() if word in kind), 4)
    announced = _count(fields.get("sizes", ""), "sizes", path) * size_of_type
    detached = "data file" in fields
    files = _data_files(fields["data file"], "\n".join(names).encode("latin-1"), path) if detached else [path]
    _check_room(announced, files, blank.end() if blank and not detached else 0, _NRRD_ENCODINGS[encoding], path)


def _start(path: Path) -> bytes:
    """Return the first bytes of a file, which hold a header.

    Raises:
        InputError: if the file is empty.
    """
    with open(path, "rb") as file:
        start = file.read(_LONGEST_HEADER_BYTES)
    if not start:
        raise InputError(f"{path}: is empty.")
    return start


def _check_lines(header: bytes, path: Path) -> None:
    """Raise an InputError if a line of a header is so long that it overruns memory in ITK."""
    if any(len(line) > _LONGEST_LINE_BYTES for line in header.split(b"\n")):
        raise InputError(f"{path}: damaged: a line of its header has more than {_LONGEST_LINE_BYTES} bytes.")


def _not_a(kind: str, start: bytes, path: Path, missing: str) -> InputError:
    """Return the error for a file that is not what its name says."""
    what = kind_of(start[:LONGEST_MARK])
    return InputError(
        f"{path}: {what}."
        if what and kind.split()[0] not in what
        else (f"{path}: not a {kind}, or damaged or cut short: its header lacks {missing}.")
    )


def _count(text: str, field: str, path: Path) -> int:
    """Return the product of the positive whole numbers in a field of a header.

    Raises:
        InputError: if there are others, or none.
    """
    sizes = text.split()
    if not sizes or not all(size.isdecimal() and len(size) < 20 and int(size) for size in sizes):
        raise InputError(f"{path}: its {field} is {text!r}; positive whole numbers are needed.")
    return math.prod(map(int, sizes))


def _data_files(name: str, lines: bytes, path: Path) -> list[Path]:
    """Return the paths of the data files that a header names.

    Args:
        name: name of one file; or a pattern such as img%03d.raw, and the first and last number and the step; or LIST.
        lines: the lines after it, which list the files.
        path: path of the header.

    Raises:
        InputError: if they are numbered, but not by a pattern.
    """
    pattern, *numbers = name.split()[: 4 if "%" in name else 1] or [""]
    if pattern.upper() == "LIST":
        names: Sequence[str] = lines.decode("utf-8", "surrogateescape").split("\n")
    elif "%" in pattern:
        names = _numbered(pattern, numbers, path)
    else:
        names = [name]
    return [path.parent / file.strip() for file in names if file.strip()]


def _numbered(pattern: str, numbers: Sequence[str], path: Path) -> list[str]:
    """Return the names of files that are numbered by a pattern.

    Raises:
        InputError: if they cannot be.
    """
    try:
        first, last, step = map(int, [*numbers, "1"][:3])
        names = [pattern % number for number in range(first, last + 1, step)[:_LARGEST_NUMBER_OF_FILES]]
    except (ValueError, TypeError) as error:
        given = f"{pattern} {' '.join(numbers)}"
        raise InputError(f"{path}: its data files are {given}, which is not a pattern.") from error
    return names


def _check_room(announced: int, files: Sequence[Path], skipped: int, limit: int, path: Path) -> None:
    """Raise an InputError if a header announces more bytes of voxels than its data files can hold.

    Args:
        announced: number of bytes.
        files: data files.
        skipped: number of bytes before the data.
        limit: largest number of bytes of voxels that a byte in the file can hold.
        path: path of the header.

    Raises:
        InputError: also if a data file is missing, or not a regular file.
    """
    most = (sum(map(check_file, files)) - skipped) * limit
    if announced > most:
        raise InputError(
            f"{path}: the file is damaged or cut short: its header announces {announced} bytes of voxels, but its data "
            f"can hold {most} at most."
        )
