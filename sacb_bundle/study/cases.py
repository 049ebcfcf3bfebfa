"""The folders of a study's cases: whole or not there, each with a record of how it came about."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from ..errors import InputError, failure_of
from ..files import whole_file
from ..registration.result_folder import (
    FAILURE,
    REPLACING,
    UNFINISHED,
    check_folder,
    check_not_read,
    json_text,
    read_or_empty,
    read_record,
    replaced_results,
    write_record,
)
from .fingerprint import INPUTS, settings_hash

logger = logging.getLogger(__name__)


class StudyStoppedError(InputError):
    """No result can be written any more."""


class Cases:
    """The folders of a study's cases, one for each pair, of its name.

    A folder appears when it is whole. Beside the results, it holds case.json: see
    `sacb_bundle.registration.result_folder`. A case that failed has error.json, beside the results of an earlier run,
    if there are any.

    Args:
        output_dir: folder that holds those of the cases.
        settings: whatever else the results depend on, see `fingerprint.described`.

    Attributes:
        part: name of this process's part of the study.
        lock: lock that keeps other processes from this part; None before the study begins.
    """

    def __init__(self, output_dir: str | Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.settings = settings_hash(settings)
        self.part = ""
        self.lock: FileLock | None = None

    def check(self, pairs: Sequence[Mapping[str, str]], others: Sequence[Mapping[str, str]] = ()) -> None:
        """Check that the folders of pairs can be made, and replace nothing but results of before that are not read.

        Args:
            pairs: pairs of this process.
            others: pairs of other processes, which may be writing into their folders (or all pairs of the study).

        Raises:
            InputError: if not.
        """
        folders = {(self.output_dir / pair["id"]).resolve() for pair in (*pairs, *others)}
        for pair in pairs:
            check_folder(self.output_dir / pair["id"])
            sources = [Path(pair[key]) for key in INPUTS if key in pair]
            for source in sources:
                if not is_text(str(source)):
                    raise InputError(f"{str(source)!r}: this name is not UTF-8, and cannot be written down; rename it.")
            check_not_read(folders, sources)

    def release(self) -> None:
        """Let other processes write here."""
        if self.lock is not None:
            self.lock.release()

    def finish(self, process: Callable[[dict[str, Any]], Mapping[Any, Any]], data: dict[str, Any]) -> str:
        """Make the folder of a case.

        Args:
            process: writes the results of the data into the folder data["folder"], and returns them with "registration"
                and "measures", which goes into the record.
            data: items of a case: "id", the paths of the pair, and what `CaseDataset` adds.

        Returns:
            the reason why the case failed; "" if it did not.

        Raises:
            StudyStoppedError: if no other case can be written, either.
        """
        start = time.perf_counter()
        case = data["id"]
        unfinished = self.output_dir / f"{UNFINISHED}{self.part}-{uuid4().hex}"
        try:
            with replaced_results(self.output_dir / case, unfinished) as folder:
                done = process({**data, "folder": folder})
                seconds = {"prepare": float(data["seconds"]), "network": float(data["network_seconds"])}
                write_record(
                    folder,
                    id=case,
                    inputs={key: str(Path(data[key]).absolute()) for key in INPUTS if key in data},
                    hashes=data["pair"].hashes,
                    weights=done["registration"].weights,
                    settings=self.settings,
                    seconds=seconds | {"finish": time.perf_counter() - start},
                    measures=dict(done["measures"]),
                )
        except Exception as error:
            failure = failure_of(error)
            failure["error"] = failure["error"].replace(unfinished.name, case)
            self.fail(case, failure)
            if no_more_can_be_written(error):
                raise self.stopped(failure["error"]) from error
            return failure["error"]
        logger.info("%s: the results are in %s", case, self.output_dir / case)
        return ""

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Write down why a case has no results. Those of an earlier run stay, with their record.

        Args:
            case: its id.
            failure: see `failure_of`.

        Raises:
            StudyStoppedError: if nothing can be written any more.
        """
        logger.error("%s: failed: %s", case, failure["error"])
        try:
            with whole_file(self.output_dir / case / FAILURE) as unfinished:
                unfinished.write_text(json_text({"id": case, **failure}), encoding="utf-8")
        except InputError as error:
            if no_more_can_be_written(error):
                raise self.stopped(str(error)) from error
            logger.error("%s", error)

    def stopped(self, reason: str) -> StudyStoppedError:
        """Return the error that ends a study."""
        return StudyStoppedError(
            f"{self.output_dir}: nothing can be written there any more: {reason} The results that are there are whole; "
            "go on with --resume when this is put right."
        )

    def reason_to_do(self, pair: Mapping[str, str], hashes: Callable[[Mapping[str, str]], dict[str, str]]) -> str:
        """Return why a case is to be done (again); "" if it is complete, of the same inputs and settings.

        Args:
            pair: pair of the case.
            hashes: see `fingerprint.input_hashes`.
        """
        folder = self.output_dir / pair["id"]
        record = read_record(folder)
        if not record:
            return "failed before" if read_failure(folder) else "not done yet"
        if record["settings"] != self.settings:
            return "settings changed"
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
        """Remove from cases that are complete what a later attempt left that failed or was killed."""
        for pair in pairs:
            for name in (FAILURE, REPLACING):
                (self.output_dir / pair["id"] / name).unlink(missing_ok=True)


def is_text(name: str) -> bool:
    """Return whether a name can be written to a file as text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def read_failure(folder: Path) -> str:
    """Return why the case in a folder failed when it was last tried; "" if it did not."""
    return str(read_or_empty(folder / FAILURE, dict).get("error", ""))


def no_more_can_be_written(error: BaseException | None) -> bool:
    """Return whether other cases would fail for the same reason: the disk is full or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False
