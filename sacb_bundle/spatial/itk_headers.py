"""Headers of MetaImage and NRRD files, checked against their data before ITK reads them.

ITK takes memory for all voxels that a header announces, and opens whatever data file it names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..file_kinds import LONGEST_MARK, kind_of
from ..files import check_file
from .nifti_files import DEFLATE_LIMIT

_LONGEST_HEADER_BYTES = 2**20
_LARGEST_NUMBER_OF_FILES = 2**16
_META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
# Words in the names of NRRD's types, the first that occurs counts.
_NRRD_BYTES = {"64": 8, "longlong": 8, "long long": 8, "double": 8, "16": 2, "short": 2, "int8": 1, "char": 1}
# Bytes of voxels that one byte in the file can hold; in text, a number and a space are at least two bytes.
_NRRD_ENCODINGS = {
    "raw": 1, "gzip": DEFLATE_LIMIT, "gz": DEFLATE_LIMIT, "hex": 1, "text": 4, "txt": 4, "ascii": 4,
}  # fmt: skip


def check_meta_image(path: Path) -> None:
    """Check that the header of a MetaImage announces no more voxels than its data files can hold.

    Args:
        path: path of an existing file, .mha or .mhd.

    Raises:
        InputError: if the file is no MetaImage, or a data file is missing, not a regular file, or too short.
    """
    start, size = _start(path)
    fields: dict[str, str] = {}
    end = 0
    while "ElementDataFile" not in fields:
        line_end = start.find(b"\n", end) + 1 or len(start)
        key, equals, value = start[end:line_end].decode("latin-1").partition("=")
        if not equals:
            raise _not_a("MetaImage", start, path, "the line ElementDataFile")
        fields[key.strip()] = value.strip()
        end = line_end
    voxels = _count(fields.get("DimSize", ""), "DimSize", path) * _count(
        fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels", path
    )
    element = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    if element not in _META_BYTES:
        raise InputError(f"{path}: its ElementType is {fields.get('ElementType', 'missing')!r}, which is not read.")
    compressed, text = (
        fields.get(key, default)[:1] in "Tt1" for key, default in (("CompressedData", "False"), ("BinaryData", "True"))
    )
    limit = DEFLATE_LIMIT if compressed else 1 if text else 4
    data = fields["ElementDataFile"]
    held = size - end if data.upper() == "LOCAL" else _bytes_of(data, start[end:], path)
    _check_room(voxels * _META_BYTES[element], held * limit, path)


def check_nrrd(path: Path) -> None:
    """Check that the header of an NRRD file announces no more voxels than its data files can hold.

    Args:
        path: path of an existing file, .nrrd or .nhdr.

    Raises:
        InputError: if the file is no NRRD file, or a data file is missing, not a regular file, or too short.
    """
    start, size = _start(path)
    header, _, data = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    first, *lines = header.decode("latin-1").split("\n")
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
        raise InputError(f"{path}: its encoding is {encoding!r}; one of {', '.join(_NRRD_ENCODINGS)} is read.")
    kind = fields["type"].lower()
    size_of_type = next((size for word, size in _NRRD_BYTES.items() if word in kind), 4)
    if "data file" in fields:
        held = _bytes_of(fields["data file"], "\n".join(names).encode("latin-1"), path)
    else:
        held = size - (len(start) - len(data))
    _check_room(_count(fields.get("sizes", ""), "sizes", path) * size_of_type, held * _NRRD_ENCODINGS[encoding], path)


def _start(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of a file, which hold a header, and the size of the file."""
    size = check_file(path)
    with open(path, "rb") as file:
        return file.read(_LONGEST_HEADER_BYTES), size


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


def _bytes_of(name: str, lines: bytes, path: Path) -> int:
    """Return the size of the data files that a header names.

    Args:
        name: name of one file; or a pattern such as img%03d.raw, and the first and last number and the step; or LIST.
        lines: the lines after it, which list the files.
        path: path of the header.

    Raises:
        InputError: if a file is missing, or not a regular file.
    """
    pattern, *numbers = name.split()[: 4 if "%" in name else 1] or [""]
    if pattern.upper() == "LIST":
        names: Sequence[str] = lines.decode("utf-8", "surrogateescape").split("\n")
    elif "%" in pattern:
        names = _numbered(pattern, numbers, path)
    else:
        names = [name]
    return sum(check_file(path.parent / file.strip()) for file in names if file.strip())


def _numbered(pattern: str, numbers: Sequence[str], path: Path) -> list[str]:
    """Return the names of files that are numbered by a pattern.

    Raises:
        InputError: if they cannot be.
    """
    try:
        first, last, step = map(int, [*numbers, "1"][:3])
        names = [pattern % number for number in range(first, last + 1, step)[:_LARGEST_NUMBER_OF_FILES]]
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: its data files are {pattern} {' '.join(numbers)}, which is no pattern.") from error
    return names


def _check_room(announced: int, most: int, path: Path) -> None:
    """Raise an InputError if a header announces more bytes of voxels than its data files can hold."""
    if announced > most:
        raise InputError(
            f"{path}: the file is damaged or cut short: its header announces {announced} bytes of voxels, but its data "
            f"can hold {most} at most."
        )
