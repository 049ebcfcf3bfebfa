"""Writing of results: into folders that can be written to, in files that are whole."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Let a file appear under its name only when it is whole.

    Args:
        path: of the file; its folder is made if need be.

    Yields:
        the path to write to, in the same folder and with the same ending.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("unfinished." + path.name)
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
