"""Read ITK's transform files (.tfm, .txt, .mat, .h5), by rules stricter than ITK's.

ITK's own readers of text and .mat files read a truncated file as another transform, mostly the identity, and crash at
some words. Here, the numbers of each transform are counted before ITK receives them. A text file does not state how
many transforms it holds, so a composite of three that ends after the second one goes undetected.
"""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import InputError
from ..file_kinds import LONGEST_MARK, kind_of
from ..files import check_file, reading
from .itk import itk_path

_TEXT_MARK = b"#Insight Transform File V1.0"
_HDF5_MARK = b"\x89HDF"
_COMPOSITE, _FIELD = "CompositeTransform", "DisplacementFieldTransform"
_LINEAR: dict[str, Callable[[], sitk.Transform]] = {
    "AffineTransform": lambda: sitk.AffineTransform(3),
    "MatrixOffsetTransformBase": lambda: sitk.AffineTransform(3),
    "Euler3DTransform": sitk.Euler3DTransform,
    "VersorTransform": sitk.VersorTransform,
    "VersorRigid3DTransform": sitk.VersorRigid3DTransform,
    "Similarity3DTransform": sitk.Similarity3DTransform,
    "ScaleVersor3DTransform": sitk.ScaleVersor3DTransform,
    "ScaleSkewVersor3DTransform": sitk.ScaleSkewVersor3DTransform,
    "ComposeScaleSkewVersor3DTransform": sitk.ComposeScaleSkewVersor3DTransform,
    "TranslationTransform": lambda: sitk.TranslationTransform(3),
    "ScaleTransform": lambda: sitk.ScaleTransform(3),
    "IdentityTransform": lambda: sitk.Transform(3, sitk.sitkIdentity),
}
# Data types by their code in a MATLAB file.
_MATLAB_TYPES = {0: "<f8", 10: "<f4"}
# Place of the size of the whole file in an HDF5 file, by the version in its ninth byte.
_HDF5_SIZE_AT = {0: 40, 1: 44, 2: 28, 3: 28}
# Longest time to read an HDF5 file: the largest fields take seconds, but some damaged files would never end.
_HDF5_SECONDS = 120
# Numbers of the fixed parameters of a field: size, origin, spacing and direction.
_FIELD_NUMBERS = 18
_CUT = "it is damaged or cut short"

# Type with its suffix, such as AffineTransform_double_3_3, parameters and fixed parameters.
_Entry = tuple[str, np.ndarray, np.ndarray]


def read_itk_transforms(path: Path) -> list[sitk.Transform]:
    """Read the transforms in a file of ITK.

    Args:
        path: path of the file; its format is recognised by its content, not its name.

    Returns:
        The transforms, without composites; the last one is applied first.

    Raises:
        InputError: if there is no such file, it is incomplete, or it holds transforms other than affine ones and
            displacement fields in 3-D.
    """
    size = check_file(path)
    with reading(path), open(path, "rb") as file:
        start = file.read(LONGEST_MARK)
    if start.startswith(_HDF5_MARK):
        place = _HDF5_SIZE_AT.get(start[8] if len(start) >= LONGEST_MARK else -1)
        if place is None or int.from_bytes(start[place : place + 8], "little") > size:
            raise InputError(f"{path}: {_CUT}; it is an HDF5 file of more than {size} bytes.")
        return _read_hdf5(path)
    with reading(path):
        content = path.read_bytes()
    if content.startswith(_TEXT_MARK):
        entries = _entries_of_text(content, path)
    elif kind := kind_of(start):
        raise InputError(f"{path}: not an ITK transform; it {kind}.")
    else:
        entries = _entries_of_matlab(content, path)
    return [_transform(entry, number, path) for number, entry in enumerate(entries, start=1)]


def _read_hdf5(path: Path) -> list[sitk.Transform]:
    """Read a file in the HDF5 format, first in a separate process, which ITK may crash."""
    command = [sys.executable, "-c", "import sys, SimpleITK; SimpleITK.ReadTransform(sys.argv[1])", itk_path(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_HDF5_SECONDS)
        transform = sitk.ReadTransform(str(path))
    except (subprocess.SubprocessError, RuntimeError) as error:
        raise InputError(f"{path}: not an ITK transform, or damaged or cut short.") from error
    if transform.GetName() != _COMPOSITE:
        return [transform]
    composite = sitk.CompositeTransform(transform)
    composite.FlattenTransform()
    return [composite.GetNthTransform(number) for number in range(composite.GetNumberOfTransforms())]


def _entries_of_text(content: bytes, path: Path) -> list[_Entry]:
    """Parse a text file.

    Raises:
        InputError: if a line is missing, out of order, or malformed.
    """
    if not content.endswith(b"\n"):
        raise InputError(f"{path}: its last line has no end, so {_CUT}.")
    _, *lines = content.decode("latin-1").splitlines()
    numbered = sum(bool(re.match(r"#\s*Transform \d+\s*$", line)) for line in lines)
    fields = [line.partition(":") for line in lines if line.strip() and not line.startswith("#")]
    composites = [value.strip() for key, _, value in fields if key == "Transform" and _COMPOSITE in value]
    fields = [field for field in fields if not (field[0] == "Transform" and field[2].strip() in composites)]
    keys = [key for key, _, _ in fields]
    if not keys or keys != ["Transform", "Parameters", "FixedParameters"] * (len(keys) // 3):
        raise InputError(
            f"{path}: {_CUT}; each transform needs the lines Transform, Parameters and FixedParameters, in this order."
        )
    values = [value.strip() for _, _, value in fields]
    count = len(values) // 3
    if numbered not in (0, count + len(composites)):
        raise InputError(f"{path}: {_CUT}; it has lines for {numbered} transforms, but {count + len(composites)}.")
    if not composites and count > 1:
        raise InputError(f"{path}: holds {count} transforms, but no composite that applies them all.")
    if composites and count < 2:
        raise InputError(
            f"{path}: holds a composite of one transform. If the file is complete, save that transform by itself."
        )
    numbers = [
        np.empty(0) if key == "Transform" else _numbers(value, key, path)
        for key, value in zip(keys, values, strict=True)
    ]
    return list(zip(values[::3], numbers[1::3], numbers[2::3], strict=True))


def _numbers(text: str, key: str, path: Path) -> np.ndarray:
    """Parse numbers that are separated by spaces.

    Raises:
        InputError: if they are not finite numbers.
    """
    try:
        if set(text) <= set("0123456789+-.eE \t"):
            values = np.array(text.split(), dtype=np.float64)
            if np.isfinite(values).all():
                return values
    except ValueError:
        pass
    raise InputError(f"{path}: its {key} are not all finite numbers.")


def _entries_of_matlab(content: bytes, path: Path) -> list[_Entry]:
    """Parse a MATLAB file of level 4 with two variables: the parameters, named after their type, and "fixed".

    Raises:
        InputError: if it is not such a file.
    """
    variables: list[tuple[str, np.ndarray]] = []
    start = 0
    while start < len(content) and len(variables) < 3:
        if len(content) < start + 20:
            raise InputError(f"{path}: not an ITK transform, or {_CUT}.")
        kind, rows, columns, imaginary, length = struct.unpack_from("<5i", content, start)
        dtype = _MATLAB_TYPES.get(kind)
        name_end = start + 20 + length
        end = name_end + rows * columns * (np.dtype(dtype).itemsize if dtype else 0)
        if not dtype or rows < 0 or columns != 1 or imaginary or not 0 < length <= 64 or end > len(content):
            raise InputError(f"{path}: not an ITK transform, or {_CUT}.")
        name = content[start + 20 : name_end].rstrip(b"\0").decode("latin-1")
        variables.append((name, np.frombuffer(content, dtype, rows, name_end).astype(np.float64)))
        start = end
    if len(variables) != 2 or variables[1][0] != "fixed":
        raise InputError(f"{path}: needs one transform and its fixed parameters, but has {[n for n, _ in variables]}.")
    (name, parameters), (_, fixed) = variables
    return [(name, parameters, fixed)]


def _transform(entry: _Entry, number: int, path: Path) -> sitk.Transform:
    """Make a transform of its type and numbers.

    Raises:
        InputError: if the type is not supported, or has another number of parameters.
    """
    name, parameters, fixed = entry
    match = re.fullmatch(r"(\w+?)_(?:double|float)_(\d+)_(\d+)", name)
    kind = match[1] if match else name
    if match and (match[2], match[3]) != ("3", "3"):
        raise InputError(f"{path}: the transform has {match[2]} dimensions; 3 are needed.")
    if match and kind == _FIELD:
        return _field(parameters, fixed, path)
    if not match or kind not in _LINEAR:
        raise InputError(
            f"{path}: holds a {kind} at position {number}; supported are {_FIELD} and {', '.join(_LINEAR)}."
        )
    transform = _LINEAR[kind]()
    needed = len(transform.GetParameters()), len(transform.GetFixedParameters())
    # Older versions of ITK wrote no order of the axes.
    older = kind == "Euler3DTransform" and len(fixed) == needed[1] - 1
    if len(parameters) != needed[0] or not (len(fixed) == needed[1] or older):
        raise InputError(
            f"{path}: {_CUT}; its {kind} has {len(parameters)} parameters and {len(fixed)} fixed ones, but needs "
            f"{needed[0]} and {needed[1]}."
        )
    try:
        transform.SetFixedParameters(fixed.tolist())
        transform.SetParameters(parameters.tolist())
    except RuntimeError as error:  # such as a versor longer than 1
        raise InputError(f"{path}: its {kind} is damaged: {str(error).splitlines()[-1].strip()}") from error
    return transform


def _field(parameters: np.ndarray, fixed: np.ndarray, path: Path) -> sitk.Transform:
    """Make the transform of a displacement field.

    Raises:
        InputError: if the numbers are inconsistent.
    """
    size, rest = fixed[:3], fixed[3:]
    if len(fixed) != _FIELD_NUMBERS or not all(value >= 1 and value == int(value) for value in size):
        raise InputError(f"{path}: {_CUT}; the grid of its field is {fixed.tolist()}.")
    shape = [int(value) for value in size[::-1]]
    if len(parameters) != 3 * shape[0] * shape[1] * shape[2]:
        raise InputError(
            f"{path}: {_CUT}; its field has {len(parameters)} numbers, but three for each of {shape[::-1]} voxels are "
            "needed."
        )
    image = sitk.GetImageFromArray(parameters.reshape(*shape, 3), isVector=True)
    try:
        image.SetOrigin(rest[:3].tolist())
        image.SetSpacing(rest[3:6].tolist())
        image.SetDirection(rest[6:].tolist())
    except RuntimeError as error:  # a spacing of 0, or a direction without an inverse
        raise InputError(f"{path}: the grid of its field is {fixed.tolist()}, which is damaged.") from error
    return sitk.DisplacementFieldTransform(image)
