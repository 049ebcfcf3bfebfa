"""Read arrays from pickles, without running code that a pickle may hold."""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import check_file, reading


class _Record:
    """Arguments and state of an object of numpy, as a pickle gives them.

    Reading a pickle only makes records. numpy's own classes would take a forged state that makes them read and write
    anywhere in memory.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Encoded(_Record):
    """Bytes as text, as in protocol 2."""

    def made(self) -> bytes:
        """Return the bytes.

        Raises:
            InputError: if they are not in the encoding that arrays have.
        """
        text, encoding = self.arguments
        if encoding != "latin1":
            raise InputError("holds text that is not encoded in latin1; of a pickle, only arrays of numpy are read")
        return text.encode("latin1")


class _DataType(_Record):
    """Type of the elements of an array."""

    def made(self) -> np.dtype:
        """Return the type.

        Raises:
            InputError: if it is not one of plain numbers, or is forged.
        """
        name, byte_order = self.arguments[0], self.state[1]
        if not re.fullmatch(r"[biuf]\d+", name) or self.state[2:] != (None, None, None, -1, -1, 0):
            raise InputError(f"holds an array of the type {name!r}; of a pickle, only arrays of numbers are read")
        if byte_order not in ("<", ">", "|", "="):
            raise InputError("holds an array whose byte order is none of <, >, | and =")
        return np.dtype(name).newbyteorder(byte_order)


class _Array(_Record):
    """Array, as in protocols 2 to 4, or if it is not contiguous."""

    def made(self) -> np.ndarray:
        """Return the array, see `_array`."""
        _, shape, dtype, is_fortran, data = self.state
        return _array(data, dtype, shape, "F" if is_fortran else "C")


class _ArrayFromBuffer(_Record):
    """Array, as in protocol 5; numpy 2 adds the order of its axes if that is neither of C nor of Fortran."""

    def made(self) -> np.ndarray:
        """Return the array, see `_array`."""
        data, dtype, shape, order, *axes = self.arguments
        return _array(data, dtype, shape, "C").transpose(*axes) if order == "K" else _array(data, dtype, shape, order)


# All that a pickle of arrays names, under the names of numpy 1 and numpy 2. A pickle can call what is here, and change
# the attributes of a function, so only records and texts are safe.
_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "an argument of _reconstruct",
    ("numpy", "dtype"): _DataType,
    ("_codecs", "encode"): _Encoded,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _Array
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _ArrayFromBuffer


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that refuses everything but numpy's arrays and Python's own lists, tuples, texts and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Return the class of the records of what a pickle names.

        Raises:
            InputError: if numpy's arrays do not need it.
        """
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise InputError(f"holds {module}.{name}; of a pickle, only arrays of numpy are read") from None


def read_pair_of_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a pickle of an image and a label map.

    Args:
        path: path of a file with a pickled tuple or list of two arrays (D, H, W).

    Returns:
        The arrays, of numbers or bool, in the byte order of this machine.

    Raises:
        InputError: if it is damaged, or holds anything else.
    """
    check_file(path)
    try:
        with reading(path), open(path, "rb") as file:
            content = _ArraysOnly(file).load()
        items = content if isinstance(content, (tuple, list)) else []
        arrays = [item.made() for item in items if isinstance(item, (_Array, _ArrayFromBuffer))]
    except InputError as error:
        raise InputError(f"{path}: {error}.") from error
    except Exception as error:  # a damaged pickle can raise any error
        raise InputError(f"{path}: is no pickle, or is damaged or cut short.") from error
    if not (len(arrays) == len(items) == 2 and all(array.ndim == 3 for array in arrays)):
        raise InputError(f"{path}: must hold a tuple or list of two arrays (D, H, W), an image and its label map.")
    return arrays[0], arrays[1]


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Make an array from what a pickle says about it.

    Args:
        data: bytes, or a record of them.
        dtype: record of its type.
        shape: its shape.
        order: "C" or "F".

    Returns:
        The array, with memory of its own.

    Raises:
        InputError: if the shape is invalid, or needs more or fewer bytes.
    """
    kind = _DataType.made(dtype)
    content = data.made() if isinstance(data, _Encoded) else data
    if not (isinstance(shape, tuple) and all(type(size) is int and size >= 0 for size in shape)):
        raise InputError("holds an array whose shape is not a tuple of whole numbers from 0")
    if not isinstance(content, (bytes, bytearray)) or len(content) != math.prod(shape) * kind.itemsize:
        raise InputError("holds an array with more or fewer bytes than its shape needs")
    # numpy takes for granted that the bytes of bool are 0 or 1.
    stored = np.dtype(np.uint8) if kind.kind == "b" else kind
    return np.frombuffer(content, stored).reshape(shape, order=order).astype(kind.newbyteorder("="), order="K")
