"""The folders of a study's cases: whole or not there, each with a record of how it came about."""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from filelock import FileLock

from ..errors import InputError, reason_of
from ..files import check_results, reading, remove_unfinished_files, whole_file
from .fingerprint import INPUTS, settings_hash

RECORD, FAILURE = "case.json", "error.json"
UNFINISHED = ".unfinished-"
# Names of results, those before and those after, while the ones take the place of the others.
REPLACING = ".replacing.json"
RESULT = re.compile(r"picture\.jpg|initial\.tfm|transform\.(nii\.gz|h5|tfm)|warped(_labels)?\.nii\.gz|disp_.*\.nii\.gz")
# Keys of the record of a complete case, and their types.
KEYS = {"inputs": dict, "hashes": dict, "settings": str, "results": dict, "seconds": dict, "measures": dict}

Content = TypeVar("Content", dict, list)

logger = logging.getLogger(__name__)


class StudyStoppedError(InputError):
    """No result can be written any more."""


class Cases:
    """Where the results of pairs go: a folder each, of the pair's name.

    In a study (`part` is its part), the folder appears when it is whole. The folder of a pair by itself may be one that
    is there and holds other files; each file in it appears when all are whole.

    Beside the results, a folder holds case.json: the inputs and the hashes of their contents, the hash of the
    settings, the names and sizes of the results, what was measured, and the seconds it took. A case of a study that
    failed has error.json, beside the results of an earlier run, if there are any.

    Args:
        output_dir: folder that holds those of the cases.
        settings: whatever else the results depend on, see `described`.

    Attributes:
        part: name of this process's part of a study; None for a pair by itself, whose failure is raised.
        lock: that keeps other processes from this part; None for a pair by itself.
    """

    def __init__(self, output_dir: str | Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.settings = settings_hash(settings)
        self.part: str | None = None
        self.lock: FileLock | None = None

    def checked(
        self, pairs: Sequence[Mapping[str, str]], others: Sequence[Mapping[str, str]] = ()
    ) -> Sequence[Mapping[str, str]]:
        """The pairs, if their folders can be made and replace nothing but results of before that are not read.

        Args:
            pairs: of this process.
            others: those of other processes, which may be writing into their folders (or all of the study).

        Raises:
            InputError: if not.
        """
        folders = {(self.output_dir / pair["id"]).resolve() for pair in (*pairs, *others)}
        for pair in pairs:
            folder = self.output_dir / pair["id"]
            check_results([folder / RECORD], [])
            if folder.is_symlink():
                raise InputError(f"{folder}: results cannot be written there: it is a link.")
            if strangers := sorted(names_of_results(folder) - names_of_own_results(folder)):
                raise InputError(
                    f"{folder / strangers[0]}: a result would take the place of this file, which is not one, as far as "
                    f"a {RECORD} tells; move it away, or choose another output."
                )
            for key in INPUTS:
                source = Path(pair.get(key, "")).resolve()
                if not is_text(str(source)):
                    raise InputError(f"{str(source)!r}: this name is not UTF-8, and cannot be written down; rename it.")
                if source.parent in folders and (is_name_of_result(source.name) or source.name in (RECORD, FAILURE)):
                    raise InputError(
                        f"{source}: a result would overwrite this file, which is read; choose another output."
                    )
        return pairs

    def close(self) -> None:
        """Let other processes write here."""
        if self.lock is not None:
            self.lock.release()

    def finish(self, process: Callable[[dict[str, Any]], Mapping[Any, Any]], data: dict[str, Any]) -> str:
        """Make the folder of a case.

        Args:
            process: writes the results of the data into the folder data["folder"]; what it returns under "measures"
                goes into the record.
            data: of a case, with "id" and what `CaseDataset` adds.

        Returns:
            why the case failed; "" if it did not.

        Raises:
            StudyStoppedError: if no other case can be written, either.
            Exception: of a pair by itself, whatever the process raises.
        """
        start = time.perf_counter()
        case = data["id"]
        unfinished = self.unfinished_folder(case)
        try:
            done = process({**data, "folder": unfinished})
            seconds = {"prepare": float(data["seconds"]), "network": float(data["network_seconds"])}
            record = {
                "id": case,
                "inputs": {key: str(Path(data[key]).absolute()) for key in INPUTS if key in data},
                "hashes": dict(data["hashes"]),
                "settings": self.settings,
                "results": {path.name: path.stat().st_size for path in sorted(unfinished.iterdir())},
                "seconds": seconds | {"finish": time.perf_counter() - start},
                "measures": dict(done["measures"]),
            }
            (unfinished / RECORD).write_text(text_of(record), encoding="utf-8")
            self.keep(unfinished, case)
            logger.info("%s: the results are in %s", case, self.output_dir / case)
            return ""
        except Exception as error:
            # Away with it first: on a full disk, it makes room for the record.
            self.discard(unfinished, case)
            if self.part is None:
                raise
            failure = failure_of(error)
            failure["error"] = failure["error"].replace(unfinished.name, case)
            self.fail(case, failure)
            if no_more_can_be_written(error):
                raise self.stopped(failure["error"]) from error
            return failure["error"]

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Write down why a case of a study has no results. Those of an earlier run stay, with their record.

        Args:
            case: its id.
            failure: see `failure_of`.

        Raises:
            StudyStoppedError: if nothing can be written any more.
        """
        logger.error("%s: failed: %s", case, failure["error"])
        try:
            with whole_file(self.output_dir / case / FAILURE) as unfinished:
                unfinished.write_text(text_of({"id": case, **failure}), encoding="utf-8")
        except InputError as error:
            if no_more_can_be_written(error):
                raise self.stopped(str(error)) from error
            logger.error("%s", error)

    def stopped(self, reason: str) -> StudyStoppedError:
        """The error that ends a study."""
        return StudyStoppedError(
            f"{self.output_dir}: nothing can be written there any more: {reason} The results that are there are whole; "
            "go on with --resume when this is put right."
        )

    def unfinished_folder(self, case: str) -> Path:
        """A new folder to write into.

        Raises:
            InputError: if it cannot be made.
        """
        place = self.output_dir if self.part is not None else self.output_dir / case
        folder = place / f"{UNFINISHED}{self.part or 'pair'}-{uuid4().hex}"
        try:
            folder.mkdir(parents=self.part is None)
        except OSError as error:
            if self.part is not None and no_more_can_be_written(error):
                raise self.stopped(f"{error.strerror}.") from error
            raise InputError(f"{folder.parent}: results cannot be written there: {error.strerror}.") from error
        return folder

    def keep(self, unfinished: Path, case: str) -> None:
        """Give a whole folder its final name, in place of the results that are there; other files stay."""
        folder = self.output_dir / case
        if folder.is_dir():
            own = names_of_own_results(folder)
            names = sorted(own | names_of_results(unfinished))
            (folder / REPLACING).write_text(json.dumps(names), encoding="utf-8")
            # Without its record a case is not complete, whatever else is there.
            for name in (RECORD, FAILURE, *own):
                (folder / name).unlink(missing_ok=True)
            remove_unfinished_files(folder)
            if any(path.name != REPLACING for path in folder.iterdir()):
                for path in sorted(unfinished.iterdir(), key=lambda path: path.name == RECORD):
                    path.replace(folder / path.name)
                unfinished.rmdir()
                (folder / REPLACING).unlink()
                return
            (folder / REPLACING).unlink()
            folder.rmdir()
        unfinished.rename(folder)

    def discard(self, unfinished: Path, case: str) -> None:
        """Remove a folder that will not be whole, and that of a pair by itself, if nothing else is in it."""
        shutil.rmtree(unfinished, ignore_errors=True)
        folder = self.output_dir / case
        if self.part is None and not any(folder.iterdir()):
            folder.rmdir()

    def reason_to_do(self, pair: Mapping[str, str], hashes: Callable[[Mapping[str, str]], dict[str, str]]) -> str:
        """Why a case is to be done (again); "" if it is complete, of the same inputs and settings.

        Args:
            pair: of the case.
            hashes: see `input_hashes`.
        """
        folder = self.output_dir / pair["id"]
        record = read_record(folder)
        if not record:
            return "failed before" if read_failure(folder) else "not done yet"
        if record["settings"] != self.settings:
            return "the settings are others"
        for name, size in record["results"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                return f"{name} is not as it was written"
        try:
            now = hashes(pair)
        except InputError as error:
            return str(error)
        changed = [key for key in INPUTS if now.get(key) != record["hashes"].get(key)]
        return f"{', '.join(changed)} changed" if changed else ""

    def tidy(self, pairs: Sequence[Mapping[str, str]]) -> None:
        """Of cases that are complete, remove what a redo left that failed or was killed."""
        for pair in pairs:
            for name in (FAILURE, REPLACING):
                (self.output_dir / pair["id"] / name).unlink(missing_ok=True)


def is_text(name: str) -> bool:
    """Whether a name can be written to a file as text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def names_of_results(folder: Path) -> set[str]:
    """Files of a folder, if it is there, that are called as results are."""
    with reading(folder):
        return {path.name for path in folder.iterdir() if is_name_of_result(path.name)} if folder.is_dir() else set()


def names_of_own_results(folder: Path) -> set[str]:
    """Files of a folder that an earlier registration wrote: those its record names; all results if that is damaged.

    A record is a file that anyone may have written. A name in it that no result has, such as a path that leads out of
    the folder, is not taken for a result: results of before are removed.
    """
    names = {str(name) for name in read_json_file(folder / REPLACING, list)}
    if (folder / RECORD).is_file():
        names |= read_record(folder).get("results", {}).keys() or names_of_results(folder)
    return {name for name in names if is_name_of_result(name)}


def is_name_of_result(name: str) -> bool:
    """Whether a file of a folder, and not one elsewhere, is called as results are."""
    return RESULT.fullmatch(name) is not None and Path(name).name == name


def read_record(folder: Path) -> dict[str, Any]:
    """The record of a complete case in its folder; empty if there is none, or it is damaged."""
    content = read_json_file(folder / RECORD, dict)
    typed = all(isinstance(content.get(key), kind) for key, kind in KEYS.items())
    return content if typed and content["results"] else {}


def read_failure(folder: Path) -> str:
    """Why the case in a folder failed when it was last tried; "" if it did not."""
    return str(read_json_file(folder / FAILURE, dict).get("error", ""))


def read_json_file(path: Path, kind: type[Content]) -> Content:
    """Content of a JSON file; empty if there is none, or it holds no such thing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return kind()
    return content if isinstance(content, kind) else kind()


def text_of(record: Mapping[str, Any]) -> str:
    """Text of a record."""
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def message_of(error: BaseException) -> str:
    """What to tell the user of an error."""
    reason = reason_of(error)
    if reason is not None:
        return str(reason)
    while error.__cause__ is not None:  # MONAI wraps errors in others, which say less
        error = error.__cause__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure_of(error: BaseException) -> dict[str, str]:
    """What to write down of an error: for the user, and, where the user cannot put it right, for the programmer."""
    failure = {"error": message_of(error)}
    if reason_of(error) is None:
        failure["traceback"] = "".join(traceback.format_exception(error))
    return failure


def no_more_can_be_written(error: BaseException | None) -> bool:
    """Whether other cases would fail for the same reason: the disk is full or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False
