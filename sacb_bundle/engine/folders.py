"""Folders for results."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ..errors import InputError


def make_folder(path: str | Path) -> None:
    """Make a folder for results, and see that it can be written to before work starts.

    Raises:
        InputError: if it cannot be made or written to.
    """
    try:
        Path(str(path)).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(path)):
            pass
    except OSError as error:
        raise InputError(f"{path}: results cannot be written there: {error.strerror}.") from error
