"""Read files, and write results: into folders that can be written to, in files that are whole."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from .errors import InputError

BLOCK_BYTES = 2**22
PACKAGE = Path(__file__).resolve().parent
UNFINISHED = re.compile(r"unfinished-[0-9a-f]{32}(\..*)?")


def bundle_root() -> Path:
    """Return the folder of the bundle: configs/, models/ and atlas/.

    It lies within an installed package, and around the package in a checkout or an unpacked bundle.
    """
    installed = PACKAGE / "_bundle"
    return installed if installed.is_dir() else PACKAGE.parent


def shipped_weights() -> Path:
    """Return the path of the weights that ship with the bundle."""
    return bundle_root() / "models" / "model.pt"


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with reading(path), open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


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


def check_results(results: Iterable[Path], sources: Iterable[str | Path]) -> None:
    """Check, before work starts, that results can be written and overwrite nothing that is read.

    Args:
        results: paths to be written.
        sources: paths that are read.

    Raises:
        InputError: names the path, and what stands in the way.
    """
    read = {Path(source).resolve() for source in sources}
    for result in results:
        if result.resolve() in read:
            raise InputError(f"{result}: a result would overwrite this file, which is read; choose another place.")
        try:
            is_folder = result.is_dir()
            nearest = next(folder for folder in result.absolute().parents if folder.exists())
            usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
        except OSError as error:  # a name that is too long, a folder that may not be looked into
            raise InputError(f"{result}: cannot be written: {error.strerror}.") from error
        if is_folder:
            raise InputError(f"{result}: is a folder; the result is a file.")
        if not usable:
            raise InputError(f"{result}: cannot be written; {nearest} is not a folder that can be written to.")


def remove_unfinished_files(folder: Path) -> None:
    """Remove what killed processes were writing in a folder, see `whole_file`; no other may be writing there."""
    for path in folder.iterdir():
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Read a file or folder.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8.

    Raises:
        InputError: if it cannot be read, or is not JSON.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from error


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Let a file appear under its name only when it is whole.

    Args:
        path: of the file; its folder is made if need be.

    Yields:
        the path to write to, in the same folder and with the same ending.

    Raises:
        InputError: if it cannot be written.
    """
    ending = "".join(path.suffixes[-2:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: another process may be writing a file of the same name.
        unfinished = path.with_name(f"unfinished-{uuid4().hex}{ending}")
        try:
            yield unfinished
            unfinished.replace(path)
        except RuntimeError as error:  # SimpleITK's, with a line of its own source before the reason
            if shutil.disk_usage(path.parent).free == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise InputError(f"{path}: cannot be written: {str(error).splitlines()[-1].strip()}") from error
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}.") from error
