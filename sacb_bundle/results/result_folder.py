"""The folder of a registered pair: complete results, with a record of how they were made.

Results replace those of an earlier registration, which its record names. They never replace a user's file, and nothing
outside the folder changes, whatever a record lists.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import check_results, read_or_empty, reading, real_path, remove_unfinished_files, whole_file
from .record import FAILURE, RECORD, listed_results, read_failure

# Names of the old and new results while they are replaced.
_REPLACING = ".replacing.json"
UNFINISHED = ".unfinished-"
# Empty file that is locked while results are written.
_LOCK = ".sacb-writing.lock"
_UNFINISHED_FOLDER = re.compile(re.escape(UNFINISHED) + "[0-9a-f]{32}")


@dataclass(frozen=True)
class ResultFolder:
    """The folder of the results of a pair.

    Attributes:
        path: path of the folder, which need not exist.
        is_result: function that says whether a file of a name in the folder is a result, not a user's file.
    """

    path: Path
    is_result: Callable[[str], bool]

    def check(self, redo_damaged: bool = False) -> None:
        """Check before work starts that results can be written, and replace no other file.

        Args:
            redo_damaged: whether a damaged record and the results beside it may be replaced, as in the folder of a case
                that a study lists.

        Raises:
            InputError: if not.
        """
        folder = self.path
        check_results([folder / RECORD], [])
        if folder.is_symlink():
            raise InputError(f"{folder}: results cannot be written there: it is a link.")
        if (folder / RECORD).exists() and not redo_damaged and not listed_results(folder):
            raise InputError(f"{folder / RECORD}: not the record of a registration; move it, or choose another output.")
        if folders := sorted(name for name in self._results_in(folder) if (folder / name).is_dir()):
            raise InputError(f"{folder / folders[0]}: is a folder with the name of a result; move it.")
        if strangers := sorted(self._results_in(folder) - self._recorded()):
            raise InputError(
                f"{folder / strangers[0]}: a result would replace this file, which {RECORD} does not list as a result; "
                "move it, or choose another output."
            )

    @contextmanager
    def replaced(self, unfinished: Path | None = None) -> Iterator[Path]:
        """Make a new folder for results, which then replace those of an earlier registration.

        Args:
            unfinished: path of the new folder, by default within this one. If it is beside this one, which does not
                exist, this one appears once it is complete.

        Yields:
            The new folder.

        Raises:
            InputError: if the new folder cannot be made, or another process or thread is writing results there.
        """
        folder = self.path
        appears_whole = unfinished is not None and not folder.is_dir()
        unfinished = unfinished or folder / f"{UNFINISHED}{uuid4().hex}"
        with nullcontext() if appears_whole else _writing(folder):
            try:
                unfinished.mkdir()
            except OSError as error:
                raise _unwritable(folder, error) from error
            try:
                yield unfinished
                try:
                    if appears_whole:
                        unfinished.rename(folder)
                    else:
                        self._replace(unfinished)
                except OSError as error:
                    raise _unwritable(folder, error) from error
            except BaseException:
                shutil.rmtree(unfinished, ignore_errors=True)
                raise

    def tidy(self) -> None:
        """Remove files that a later attempt, failed or killed, left beside complete results.

        Raises:
            InputError: if another process or thread is writing results there.
        """
        folder = self.path
        rest = [_REPLACING, *([FAILURE] if read_failure(folder) else [])]
        if any(os.path.lexists(folder / name) for name in (*rest, _LOCK)):
            with _writing(folder):
                for name in rest:
                    (folder / name).unlink(missing_ok=True)

    def _replace(self, unfinished: Path) -> None:
        """Move a complete folder of results into this one, which exists; other files stay."""
        folder = self.path
        own = self._recorded()
        with whole_file(folder / _REPLACING) as names:  # in the place of a link, if there is one
            names.write_text(json.dumps(sorted(own | self._results_in(unfinished))), encoding="utf-8")
        # Remove the record first, since a case without it counts as incomplete.
        for name in (RECORD, *([FAILURE] if read_failure(folder) else []), *sorted(own)):
            (folder / name).unlink(missing_ok=True)
        remove_unfinished_files(folder)
        for path in folder.iterdir():
            if _UNFINISHED_FOLDER.fullmatch(path.name) and path != unfinished:  # of a process that was killed
                shutil.rmtree(path, ignore_errors=True)
        for path in sorted(unfinished.iterdir(), key=lambda path: path.name == RECORD):
            path.replace(folder / path.name)
        unfinished.rmdir()
        (folder / _REPLACING).unlink()

    def _results_in(self, folder: Path) -> set[str]:
        """Return the names of the files in a folder that are named like results; none if there is no folder."""
        with reading(folder):
            return {path.name for path in folder.iterdir() if self.is_result(path.name)} if folder.is_dir() else set()

    def _recorded(self) -> set[str]:
        """Return the names of the results of earlier registrations, from the record, or all if the record is damaged.

        Anyone may have written the record, and the returned files are removed when new results are written. So names
        that no result can have, such as a path out of the folder, are left out.
        """
        names = {str(name) for name in read_or_empty(self.path / _REPLACING, list)}
        if (self.path / RECORD).is_file():
            names |= listed_results(self.path) or self._results_in(self.path)
        return {name for name in names if self.is_result(name)}


def check_not_read(folders: set[Path], sources: list[Path], is_result: Callable[[str], bool]) -> None:
    """Check that no result would overwrite an input.

    Args:
        folders: resolved folders of results.
        sources: paths of the inputs.
        is_result: function that says whether a file of a name in such a folder is a result.

    Raises:
        InputError: if an input lies in one of the folders and has the name of a result or record; names the input.
    """
    for path in sources:
        source = real_path(path)
        if source.parent in folders and (is_result(source.name) or source.name in (RECORD, FAILURE)):
            raise InputError(f"{source}: a result would overwrite this input; choose another output.")


def lock(path: Path, wait_s: float = 0) -> FileLock:
    """Lock a file, so that no other process or thread writes the same results.

    Args:
        path: path of the file in the folder of the results, made if necessary.
        wait_s: seconds to wait until the file is free.

    Returns:
        The lock, which also ends with the process.

    Raises:
        InputError: if the file is locked, or files cannot be locked there.
    """
    taken = FileLock(path)
    try:
        taken.acquire(timeout=wait_s)
    except Timeout as error:
        raise InputError(
            f"{path.parent}: another process is writing results there; wait for it, or choose another folder."
        ) from error
    except OSError as error:
        raise InputError(
            f"{path.parent}: files cannot be locked there ({error.strerror}); locks keep two processes from writing "
            "the same results. Choose a folder on another file system."
        ) from error
    return taken


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Keep others from writing results into a folder in the block of a `with` statement.

    The folder is made if necessary, and removed if it is empty at the end.
    """
    existed = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    with ExitStack() as at_the_end:
        if not existed:
            at_the_end.callback(_remove_empty, folder)
        at_the_end.callback(lock(folder / _LOCK).release)
        # Before the release: a lock on a file that was removed counts for nothing.
        at_the_end.callback((folder / _LOCK).unlink, missing_ok=True)
        yield


def _remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty."""
    with suppress(OSError):
        folder.rmdir()


def _unwritable(folder: Path, error: OSError) -> InputError:
    """Return the error of a folder that results cannot be written to."""
    return InputError(f"{folder}: results cannot be written there: {error.strerror}.")
