"""What a result depends on, as hashes of contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import InputError

# Keys of a pair that name files.
INPUTS = ("fixed", "moving", "seg_fixed", "seg_moving", "fixed_mask", "moving_mask")


def input_hashes(pair: Mapping[Any, Any]) -> dict[str, str]:
    """SHA-256 of each file of a pair.

    Raises:
        InputError: if one cannot be read.
    """
    return {key: file_hash(pair[key]) for key in INPUTS if key in pair}


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, taken anew only if its size or time of change differs.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        state = Path(path).stat()
        return hash_of_content(str(path), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


@lru_cache(maxsize=4096)
def hash_of_content(path: str, size: int, changed: int) -> str:
    """SHA-256 of a file that had this size and time of change."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(2**22):
            digest.update(block)
    return digest.hexdigest()


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, see `described`."""
    return hashlib.sha256(json.dumps(described(settings), sort_keys=True).encode()).hexdigest()


def described(value: Any) -> Any:
    """A value as JSON can hold it: of an object, its class and its public attributes, and those below it.

    The weights of a network and states of random numbers are left out.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Path, torch.device)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): described(child) for key, child in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        children = [described(child) for child in value]
        return sorted(children, key=repr) if isinstance(value, (set, frozenset)) else children
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (torch.Tensor, np.random.RandomState)):
        return None
    if isinstance(value, type) or callable(getattr(value, "__get__", None)):  # classes, functions and methods
        return getattr(value, "__qualname__", repr(type(value)))
    attributes = {key: child for key, child in getattr(value, "__dict__", {}).items() if not key.startswith("_")}
    if isinstance(value, nn.Module):
        attributes |= dict(value.named_children()) | {"training": None}
    if not attributes:
        return type(value).__qualname__
    return [type(value).__qualname__, described(attributes)]
