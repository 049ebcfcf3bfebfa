"""Case folders of a study: each is complete or absent, and holds a record of how its results were made."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from ..errors import InputError, failure_of
from ..files import check_name, real_path
from ..registration.outputs import is_result
from ..registration.pair import IMAGES
from ..results.record import (
    FAILURE,
    fault_of_record,
    has_foreign_failure,
    read_failure,
    read_record,
    write_failure,
    write_record,
)
from ..results.result_folder import UNFINISHED, ResultFolder, check_not_read
from .fingerprint import settings_hash

logger = logging.getLogger(__name__)


class StudyStoppedError(InputError):
    """The study stops because no more results can be written."""


class Cases:
    """Case folders of a study, one for each pair, named by its id.

    A folder appears once it is complete. It holds the results and case.json, see
    `sacb_bundle.results.result_folder`. A failed case has error.json, next to any results of an earlier run.

    Args:
        output_dir: parent of the case folders.
        settings: everything else that the results depend on, see `fingerprint.described`.

    Attributes:
        part: name of this process's part of the study.
        lock: lock that keeps other processes out of this part; None before the study begins.
    """

    def __init__(self, output_dir: str | Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.settings = settings_hash(settings)
        self.part = ""
        self.lock: FileLock | None = None

    def check(
        self,
        pairs: Sequence[Mapping[str, str]],
        others: Sequence[Mapping[str, str]] = (),
        earlier: Collection[str] = (),
    ) -> None:
        """Check that the case folders can be made, and that they replace only earlier results that are not inputs.

        Args:
            pairs: pairs of this process.
            others: pairs of other processes, which may be writing their folders now (or all pairs of the study).
            earlier: ids of the cases of an earlier run, whose damaged records may be replaced.

        Raises:
            InputError: if a folder cannot be made, or results would replace another file.
        """
        for pair in (*pairs, *others):
            for key in pair.keys() & set(IMAGES):
                check_name(pair[key])
        folders = {real_path(self.output_dir / pair["id"]) for pair in (*pairs, *others)}
        for pair in pairs:
            folder = self.output_dir / pair["id"]
            ResultFolder(folder, is_result).check(redo_damaged=pair["id"] in earlier)
            if has_foreign_failure(folder):
                raise InputError(
                    f"{folder / FAILURE}: not the record of a failed registration; move it, or choose another output."
                )
            check_not_read(folders, [Path(pair[key]) for key in IMAGES if key in pair], is_result)

    def release(self) -> None:
        """Release the lock, so that other processes can write here."""
        if self.lock is not None:
            self.lock.release()

    def finish(self, process: Callable[[dict[str, Any]], Mapping[Any, Any]], data: dict[str, Any]) -> str:
        """Write the folder of a case.

        Args:
            process: function that writes the results into the folder data["folder"], and returns the data with
                "registration" and "measures"; the record holds the measures.
            data: items of a case: "id", the paths of the pair, and the items that `CaseDataset` adds.

        Returns:
            The reason the case failed; "" if it did not.

        Raises:
            StudyStoppedError: if no more cases can be written.
        """
        start = time.perf_counter()
        case = data["id"]
        unfinished = self.output_dir / f"{UNFINISHED}{self.part}-{uuid4().hex}"
        try:
            with ResultFolder(self.output_dir / case, is_result).replaced(unfinished) as folder:
                done = process({**data, "folder": folder})
                seconds = {"prepare": float(data["seconds"]), "network": float(data["network_seconds"])}
                write_record(
                    folder,
                    id=case,
                    inputs={key: str(Path(data[key]).absolute()) for key in IMAGES if key in data},
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
            if _no_more_can_be_written(error):
                raise self._stopped(failure["error"]) from error
            return failure["error"]
        logger.info("%s: results written to %s", case, self.output_dir / case)
        return ""

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Record why a case failed. Results and record of an earlier run stay.

        Args:
            case: id of the case.
            failure: error to record, see `failure_of`.

        Raises:
            StudyStoppedError: if no more files can be written.
        """
        logger.error("%s: failed: %s", case, failure["error"])
        try:
            write_failure(self.output_dir / case, case, dict(failure))
        except InputError as error:
            if _no_more_can_be_written(error):
                raise self._stopped(str(error)) from error
            logger.error("%s", error)

    def _stopped(self, reason: str) -> StudyStoppedError:
        """Return the error that ends a study.

        Args:
            reason: error that keeps results from being written, as a sentence.
        """
        return StudyStoppedError(
            f"{self.output_dir}: no more results can be written: {reason} The results so far are complete; "
            "fix this, then continue with --resume."
        )

    def reason_to_do(self, pair: Mapping[str, str], hashes: Callable[[Mapping[str, str]], dict[str, str]]) -> str:
        """Find out whether a case is complete, with the same inputs and settings.

        Args:
            pair: pair of the case.
            hashes: function that hashes the files of a pair, see `fingerprint.input_hashes`.

        Returns:
            The reason the case must be registered (again), such as "settings changed"; "" if it is complete.
        """
        folder = self.output_dir / pair["id"]
        record = read_record(folder)
        if not record:
            return "failed before" if read_failure(folder) else fault_of_record(folder) or "not done yet"
        if record["settings"] != self.settings:
            return "settings changed"
        for name, size in record["results"].items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                return f"{name} has changed since it was written"
        try:
            now = hashes(pair)
        except InputError as error:
            return str(error)
        changed = [key for key in IMAGES if now.get(key) != record["hashes"].get(key)]
        return f"{', '.join(changed)} changed" if changed else ""

    def tidy(self, pairs: Sequence[Mapping[str, str]]) -> None:
        """Remove files that a later attempt, failed or killed, left in the folders of complete cases.

        Args:
            pairs: pairs of the complete cases, see `sacb_bundle.data.PairFiles`.

        Raises:
            InputError: if another process is writing into one of them.
        """
        for pair in pairs:
            ResultFolder(self.output_dir / pair["id"], is_result).tidy()


def _no_more_can_be_written(error: BaseException | None) -> bool:
    """Return whether other cases would fail for the same reason: the disk is full or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False
