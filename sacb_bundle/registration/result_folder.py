"""The folder of a registered pair: complete results, with a record of how they were made.

Results replace those of an earlier registration, which its record names. They never replace a user's file, and nothing
outside the folder changes, whatever a record lists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from ..errors import InputError
from ..files import check_results, read_or_empty, reading, real_path, remove_unfinished_files, whole_file
from .outputs import is_result
from .record import FAILURE, RECORD, listed_results, read_failure

# Names of the old and new results while they are replaced.
REPLACING = ".replacing.json"
UNFINISHED = ".unfinished-"


def check_folder(folder: Path, redo_damaged: bool = False) -> None:
    """Check before work starts that results can be written into a folder and replace no other file.

    Args:
        folder: folder of the results.
        redo_damaged: whether a damaged record and the results beside it may be replaced, as in the folder of a study.

    Raises:
        InputError: if results cannot be written there, or would replace another file.
    """
    check_results([folder / RECORD], [])
    if folder.is_symlink():
        raise InputError(f"{folder}: results cannot be written there: it is a link.")
    if (folder / RECORD).exists() and not redo_damaged and not listed_results(folder):
        raise InputError(f"{folder / RECORD}: not the record of a registration; move it, or choose another output.")
    if folders := sorted(name for name in _results_in(folder) if (folder / name).is_dir()):
        raise InputError(f"{folder / folders[0]}: is a folder with the name of a result; move it.")
    if strangers := sorted(_results_in(folder) - _recorded_results(folder)):
        raise InputError(
            f"{folder / strangers[0]}: a result would replace this file, which {RECORD} does not list as a result; "
            "move it, or choose another output."
        )


def check_not_read(folders: set[Path], sources: list[Path]) -> None:
    """Check that no result would overwrite an input.

    Args:
        folders: resolved folders of results.
        sources: paths of the inputs.

    Raises:
        InputError: if an input lies in one of the folders and has the name of a result or record; names the input.
    """
    for path in sources:
        source = real_path(path)
        if source.parent in folders and (is_result(source.name) or source.name in (RECORD, FAILURE)):
            raise InputError(f"{source}: a result would overwrite this input; choose another output.")


@contextmanager
def replaced_results(folder: Path, unfinished: Path | None = None) -> Iterator[Path]:
    """Make a new folder for results, which then replace those of an earlier registration.

    Args:
        folder: folder of the results, which need not exist.
        unfinished: path of the new folder, by default within `folder`. If it is beside `folder`, `folder` appears once
            it is complete.

    Yields:
        The new folder.

    Raises:
        InputError: if the new folder cannot be made.
    """
    existed = folder.is_dir()
    unfinished = unfinished or folder / f"{UNFINISHED}{uuid4().hex}"
    try:
        unfinished.mkdir(parents=unfinished.parent == folder)
    except OSError as error:
        raise InputError(f"{folder}: results cannot be written there: {error.strerror}.") from error
    try:
        yield unfinished
        try:
            _replace_results(unfinished, folder)
        except OSError as error:
            raise InputError(f"{folder}: results cannot be written there: {error.strerror}.") from error
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not existed and unfinished.parent == folder and not any(folder.iterdir()):
            folder.rmdir()
        raise


def _replace_results(unfinished: Path, folder: Path) -> None:
    """Move a complete folder of results to its final path; other files in an existing folder stay."""
    within = unfinished.parent == folder
    if not within and not folder.is_dir():
        unfinished.rename(folder)
        return
    own = _recorded_results(folder)
    with whole_file(folder / REPLACING) as names:  # in the place of a link, if there is one
        names.write_text(json.dumps(sorted(own | _results_in(unfinished))), encoding="utf-8")
    # Remove the record first, since a case without it counts as incomplete.
    for name in (RECORD, *([FAILURE] if read_failure(folder) else []), *sorted(own)):
        (folder / name).unlink(missing_ok=True)
    remove_unfinished_files(folder)
    for path in folder.glob(f"{UNFINISHED}*"):  # of a process that was killed
        if path != unfinished:
            shutil.rmtree(path, ignore_errors=True)
    if within or any(path.name != REPLACING for path in folder.iterdir()):
        for path in sorted(unfinished.iterdir(), key=lambda path: path.name == RECORD):
            path.replace(folder / path.name)
        unfinished.rmdir()
        (folder / REPLACING).unlink()
    else:
        (folder / REPLACING).unlink()
        folder.rmdir()
        unfinished.rename(folder)


def _results_in(folder: Path) -> set[str]:
    """Return the names of the files in a folder that have the name of a result; none if there is no folder."""
    with reading(folder):
        return {path.name for path in folder.iterdir() if is_result(path.name)} if folder.is_dir() else set()


def _recorded_results(folder: Path) -> set[str]:
    """Return the names of the results of earlier registrations, from the record, or all if the record is damaged.

    Anyone may have written the record, and the returned files are removed when new results are written. So names that
    no result can have, such as a path out of the folder, are left out.
    """
    names = {str(name) for name in read_or_empty(folder / REPLACING, list)}
    if (folder / RECORD).is_file():
        names |= listed_results(folder) or _results_in(folder)
    return {name for name in names if is_result(name)}
