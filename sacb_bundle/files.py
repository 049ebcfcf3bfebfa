"""Read files, and write results to writable folders, in files that are complete."""

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
from typing import Any, TypeVar
from uuid import uuid4

from .errors import InputError

BLOCK_BYTES = 2**22
PACKAGE = Path(__file__).resolve().parent
UNFINISHED = re.compile(r"unfinished-[0-9a-f]{32}(\..*)?")

Content = TypeVar("Content", dict, list)


def bundle_root() -> Path:
    """Return the root folder of the bundle, with configs/, models/ and atlas/.

    It is inside an installed package, and the parent of the package in a checkout or an unpacked bundle.

    Returns:
        The absolute path of the folder.
    """
    installed = PACKAGE / "_bundle"
    return installed if installed.is_dir() else PACKAGE.parent


def shipped_weights() -> Path:
    """Return the path of the weights shipped with the bundle.

    Returns:
        The path of models/model.pt; the file is missing in an incomplete installation.
    """
    return bundle_root() / "models" / "model.pt"


def file_hash(path: str | Path) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path: path of the file, which is read block by block.

    Returns:
        The hash, in hexadecimal.

    Raises:
        InputError: if the file cannot be read.
    """
    digest = hashlib.sha256()
    with reading(path), open(path, "rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def make_folder(path: str | Path) -> None:
    """Make a folder for results, and check before work starts that it is writable.

    Args:
        path: path of the folder; its parents are made if necessary.

    Raises:
        InputError: if it cannot be made or written to.
    """
    try:
        Path(str(path)).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=str(path)):
            pass
    except OSError as error:
        raise InputError(f"{path}: results cannot be written there: {error.strerror}.") from error


def real_path(path: str | Path) -> Path:
    """Resolve the links in a path, without an error for a loop of links.

    Args:
        path: path of a file or folder, which need not exist.

    Returns:
        The absolute path without links; a loop of links stays.
    """
    return Path(os.path.realpath(path))


def is_text(value: object) -> bool:
    """Tell whether a value is text that UTF-8 can hold.

    Args:
        value: value to check.

    Returns:
        Whether it is.
    """
    try:
        return isinstance(value, str) and value.encode("utf-8") is not None
    except UnicodeEncodeError:
        return False


def check_name(path: str | Path) -> None:
    """Check that the name of a file or folder can be recorded, and given to other libraries.

    Args:
        path: path of the file or folder, which need not exist.

    Raises:
        InputError: if it is not UTF-8.
    """
    if not is_text(str(path)):
        raise InputError(f"{str(path)!r}: this name is not UTF-8, and cannot be recorded; rename it.")


def check_results(results: Iterable[Path], sources: Iterable[str | Path], overwrite: bool = True) -> None:
    """Check before work starts that results can be written and overwrite no input.

    Args:
        results: paths to write.
        sources: paths of the inputs.
        overwrite: whether results may overwrite other files.

    Raises:
        InputError: if not; names the path and the obstacle.
    """
    read = {real_path(source) for source in sources}
    for result in results:
        check_name(result)
        if real_path(result) in read:
            raise InputError(f"{result}: a result would overwrite this input; choose another output.")
        try:
            is_folder = result.is_dir()
            nearest = next(folder for folder in result.absolute().parents if folder.exists())
            usable = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
        except OSError as error:  # such as a name that is too long, or a folder without permission
            raise InputError(f"{result}: cannot be written: {error.strerror}.") from error
        if is_folder:
            raise InputError(f"{result}: is a folder, but the result is a file.")
        if not usable:
            raise InputError(f"{result}: cannot be written; {nearest} is not a writable folder.")
        if not overwrite and os.path.lexists(result):
            raise InputError(f"{result}: exists already; replace it with --overwrite, or choose another output.")


def remove_unfinished_files(folder: Path) -> None:
    """Remove unfinished files of killed processes, see `whole_file`; no other process may be writing in the folder.

    Args:
        folder: existing folder; its subfolders are not searched.
    """
    for path in folder.iterdir():
        if UNFINISHED.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def reading(path: Path | str) -> Iterator[None]:
    """Turn errors from reading a file or folder into an InputError.

    Args:
        path: path of the file or folder, for the error message.

    Yields:
        None; the block of the `with` statement reads.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def read_json(path: Path) -> Any:
    """Read a JSON file in UTF-8.

    Args:
        path: path of the file.

    Returns:
        The value that the file holds, of any JSON type.

    Raises:
        InputError: if it cannot be read, or is not JSON.
    """
    with reading(path):
        content = path.read_bytes()
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from error


def read_or_empty(path: Path, kind: type[Content]) -> Content:
    """Read a JSON file that may be missing or damaged.

    Args:
        path: path of the file.
        kind: type of the content, `dict` or `list`.

    Returns:
        The content; empty if the file is missing, damaged or of another type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return kind()
    return content if isinstance(content, kind) else kind()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file that appears under its name only once it is complete.

    Args:
        path: path of the file; its folder is made if necessary.

    Yields:
        The path to write to, in the same folder and with the same ending.

    Raises:
        InputError: if the file cannot be written.
    """
    ending = "".join(path.suffixes[-2:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The temporary name is unique, since another process may be writing the same file.
        unfinished = path.with_name(f"unfinished-{uuid4().hex}{ending}")
        try:
            yield unfinished
            unfinished.replace(path)
        except RuntimeError as error:  # from SimpleITK, with a line of its source before the reason
            if shutil.disk_usage(path.parent).free == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            raise InputError(f"{path}: cannot be written: {str(error).splitlines()[-1].strip()}") from error
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}.") from error


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write a dictionary as a JSON file that appears once it is complete.

    Args:
        content: dictionary of text, finite numbers, lists and dictionaries.
        path: path of the file; its folder is made if necessary.

    Raises:
        InputError: if the file cannot be written.
        ValueError: if a number is not finite.
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")
