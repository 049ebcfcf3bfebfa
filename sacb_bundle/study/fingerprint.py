"""Hashes of everything that results depend on."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import nn

from .. import __version__
from ..files import reading
from ..registration.pair import IMAGES
from ..spatial import content_hash

# Python's default `repr` of an object.
NAMELESS = re.compile(r"<[\w.]+ object at 0x[0-9a-f]+>")
# Endings of headers whose voxels are in a separate file.
DETACHED = (".mhd", ".nhdr")


def input_hashes(pair: Mapping[Any, Any]) -> dict[str, str]:
    """Hash the files of a pair.

    Args:
        pair: paths of the pair, see `sacb_bundle.data.PairFiles`; other keys are ignored.

    Returns:
        The `content_hash` of each file, by its key.

    Raises:
        InputError: if a file cannot be read.
    """
    return {key: scan_hash(pair[key]) for key in IMAGES if key in pair}


def scan_hash(path: str | Path) -> str:
    """Return the `content_hash` of a file, recomputed only if its size or modification time differs.

    Args:
        path: path of the file. A header whose voxels are in another file is always hashed anew.

    Returns:
        The hash, in hexadecimal.

    Raises:
        InputError: if the file cannot be read.
    """
    with reading(path):
        if str(path).lower().endswith(DETACHED):
            return content_hash(path)
        state = Path(path).stat()
        return _hash_of_content(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _hash_of_content(path: str, size: int, changed: int) -> str:
    """Return the `content_hash` of a file with this size and modification time."""
    return content_hash(path)


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on.

    Returns:
        The version of each package, by its name.
    """
    return {"sacb_bundle": __version__, "torch": str(torch.__version__), "SimpleITK": sitk.Version_VersionString()}


def settings_hash(settings: Mapping[str, Any]) -> str:
    """Hash everything that results depend on besides the inputs.

    Args:
        settings: settings of any types, by name, see `described`.

    Returns:
        The SHA-256 of their description, in hexadecimal, whatever their order.
    """
    return hashlib.sha256(json.dumps(described(settings), sort_keys=True).encode()).hexdigest()


def described(value: Any) -> Any:
    """Return a value in a form that JSON can hold: an object becomes its class and its public attributes, recursively.

    Network weights, and the states of random generators of NumPy's `RandomState`, are left out. Other values become
    their `repr`, which may differ between processes: it is better to repeat a study than to treat it as done by
    mistake.

    Args:
        value: setting of any type, such as a number, an array, a transform or a network.

    Returns:
        A value of JSON types.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): described(child) for key, child in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((described(child) for child in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [described(child) for child in value]
    if isinstance(value, torch.Tensor):
        return described(value.detach().cpu().numpy())
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, np.random.RandomState):
        return None
    if isinstance(value, (type, FunctionType)) and "<" not in value.__qualname__:
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, nn.Module) or (hasattr(value, "__dict__") and not callable(getattr(value, "__get__", None))):
        attributes = {key: child for key, child in vars(value).items() if not key.startswith("_")}
        if isinstance(value, nn.Module):
            attributes |= dict(value.named_children()) | {"training": None}
        if attributes or NAMELESS.fullmatch(repr(value)):
            return [type(value).__qualname__, described(attributes)]
    return repr(value)
