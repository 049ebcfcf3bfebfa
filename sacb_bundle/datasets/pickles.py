"""Read arrays from pickles, without running code that a pickle may hold."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import check_file, reading

# All that numpy's arrays need, under the names of numpy 1 and numpy 2.
_ADMITTED: dict[tuple[str, str], Any] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = np.empty(0).__reduce__()[0]
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = np.empty(0).__reduce_ex__(5)[0]


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that refuses everything but numpy's arrays and Python's own lists, tuples, texts and numbers."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function that a pickle names.

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
        The arrays.

    Raises:
        InputError: if it is damaged, or holds anything else.
    """
    check_file(path)
    try:
        with reading(path), open(path, "rb") as file:
            content = _ArraysOnly(file).load()
    except InputError as error:
        raise InputError(f"{path}: {error}.") from error
    except Exception as error:  # a damaged pickle can raise any error
        raise InputError(f"{path}: is no pickle, or is damaged or cut short.") from error
    arrays = content if isinstance(content, (tuple, list)) else []
    if not (len(arrays) == 2 and all(isinstance(array, np.ndarray) and array.ndim == 3 for array in arrays)):
        raise InputError(f"{path}: must hold a tuple or list of two arrays (D, H, W), an image and its label map.")
    return arrays[0], arrays[1]
