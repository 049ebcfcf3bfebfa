"""Read files, and write results to writable folders, in files that are complete."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from .errors import InputError
from .file_kinds import LONGEST_MARK, is_dicom, kind_of

BLOCK_BYTES = 2**22
_LARGEST_TEXT_BYTES = 2**28
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


def weights_path(weights: str | Path) -> Path:
    """Return the path of weights that are given by their file, or by the name of shipped ones.

    Args:
        weights: path; or name of a file in models/specialists/ without its ending, such as "brain_t1".

    Returns:
        The path, which is the given one if there are no shipped weights of this name.
    """
    path = Path(weights)
    shipped = specialists().get(path.name)
    return path if shipped is None or path != Path(path.name) or path.is_file() else shipped


def specialists() -> dict[str, Path]:
    """Return the paths of the shipped weights for one kind of images each.

    Returns:
        The paths by name, such as "brain_t1". They are in a folder of their own, since MONAI Label takes each .pt file
        beside model.pt for another model of its network.
    """
    return {path.stem: path for path in sorted((shipped_weights().parent / "specialists").glob("*.pt"))}


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
    check_file(path)
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
        True if it is text that UTF-8 can hold.
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
        InputError: if a result cannot be written, or would overwrite a file; names the path and the obstacle.
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
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise InputError(f"{path}: is not a path that a file can have.") from error


def check_path(path: object) -> None:
    """Check that a value is a path that a file or folder can have.

    Args:
        path: value to check.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(path, (str, os.PathLike)) or "\0" in os.fsdecode(path) or not os.fspath(path):
        raise InputError(f"{path!r}: is not a path that a file or folder can have.")


def check_file(path: str | Path) -> int:
    """Check that there is a regular file, or a link to one. Reading a pipe or a device might never end.

    Args:
        path: path of the file.

    Returns:
        Its size in bytes.

    Raises:
        InputError: if there is no such file, or it is a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:  # such as a name that is too long, or links in a circle
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error
    except ValueError as error:  # a null byte, or half of a surrogate pair
        raise InputError(f"{path}: is not a path that a file can have.") from error
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: is a folder{_of_dicom(Path(path))}; a file is needed.")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: is a pipe, a socket or a device; a regular file is needed.")
    return status.st_size


def _of_dicom(folder: Path) -> str:
    """Return " of DICOM files, ..." if one of the first files in a folder is in the DICOM format, else ""."""
    with suppress(OSError):
        for path in islice(folder.iterdir(), 20):
            if path.is_file():
                with open(path, "rb") as file:
                    if is_dicom(file.read(LONGEST_MARK)):
                        return " of DICOM files, which a converter such as dcm2niix turns into NIfTI"
    return ""


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Args:
        path: path of the file.

    Returns:
        The text, with its line ends as they are.

    Raises:
        InputError: if it cannot be read, or is not such a text.
    """
    if check_file(path) > _LARGEST_TEXT_BYTES:
        raise InputError(f"{path}: is larger than {_LARGEST_TEXT_BYTES // 2**20} MiB, which no table or JSON file is.")
    with reading(path):
        content = path.read_bytes()
    if kind := kind_of(content[:LONGEST_MARK]):
        raise InputError(f"{path}: {kind}.")
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: is not UTF-8 text (line {line}); save it as UTF-8.") from error
    if "\0" in text:
        raise InputError(f"{path}: is not text: it contains null bytes; save it as UTF-8.")
    return text


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: path of the file.

    Returns:
        The value that it holds.

    Raises:
        InputError: if it cannot be read, or is not JSON.
    """
    return parse_json(read_text(path), path)


def parse_json(text: str, path: Path) -> Any:
    """Parse the text of a JSON file.

    Args:
        text: text of the file.
        path: path of the file, for the error message.

    Returns:
        The value that it holds.

    Raises:
        InputError: if it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}.") from error


def read_or_empty(path: Path, kind: type[Content]) -> Content:
    """Read a JSON file that may be missing or damaged.

    Args:
        path: path of the file.
        kind: type of the content, `dict` or `list`.

    Returns:
        The content; empty if the file is missing, damaged or of another type, or no regular file.
    """
    try:
        check_file(path)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # an InputError is a ValueError
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
    ending = "".join(path.suffixes[-2:]).lower()  # libraries choose formats by endings in lower case
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
