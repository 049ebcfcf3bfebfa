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
from typing import Any
from uuid import uuid4

from ..errors import InputError, reason_of
from ..files import make_folder
from .fingerprint import INPUTS, settings_hash

RECORD = "case.json"
UNFINISHED = ".unfinished-"
# What a case's folder may hold of ours.
RESULT = re.compile(
    r"case\.json|picture\.jpg|initial\.tfm|transform\.(nii\.gz|h5|tfm)|warped(_labels)?\.nii\.gz|disp_.*\.nii\.gz"
)

logger = logging.getLogger(__name__)


class StudyStoppedError(InputError):
    """No result can be written any more."""


class Cases:
    """Where the results of pairs go: a folder each, of the pair's name, that appears when it is whole.

    Beside the results, a folder holds case.json: the inputs and the hashes of their contents, the hash of the
    settings, the names and sizes of the results, what was measured, and the seconds it took; or, of a case that
    failed, the error.

    Args:
        output_dir: folder that holds those of the cases.
        settings: whatever else the results depend on, see `described`.
    """

    def __init__(self, output_dir: str | Path, settings: Mapping[str, Any]) -> None:
        self.output_dir = Path(output_dir)
        self.settings = settings_hash(settings)
        # Name of this process's part of a study; None for a pair by itself, whose failure is raised, not written down.
        self.part: str | None = None

    def checked(self, pairs: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
        """The pairs, if their folders can be made and replace nothing that is read.

        Raises:
            InputError: if not.
        """
        make_folder(self.output_dir)
        folders = {(self.output_dir / pair["id"]).resolve(): pair["id"] for pair in pairs}
        for pair in pairs:
            folder = self.output_dir / pair["id"]
            try:
                in_the_way = folder.exists() and not folder.is_dir()
            except OSError as error:
                raise InputError(f"{folder}: results cannot be written there: {error.strerror}.") from error
            if in_the_way:
                raise InputError(f"{folder}: results cannot be written there: it is a file, not a folder.")
            for key in INPUTS:
                source = Path(pair.get(key, "")).resolve()
                if source.parent in folders and RESULT.fullmatch(source.name):
                    raise InputError(
                        f"{source}: a result would overwrite this file, which is read; choose another output."
                    )
        return pairs

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
        """
        start = time.perf_counter()
        unfinished = self.unfinished_folder()
        try:
            done = process({**data, "folder": unfinished})
            results = {path.name: path.stat().st_size for path in sorted(unfinished.iterdir())}
            seconds = {"prepare": float(data["seconds"]), "network": float(data["network_seconds"])}
            record = {
                "id": data["id"],
                "inputs": {key: str(Path(data[key]).absolute()) for key in INPUTS if key in data},
                "hashes": dict(data["hashes"]),
                "settings": self.settings,
                "results": results,
                "seconds": seconds | {"finish": time.perf_counter() - start},
                "measures": dict(done["measures"]),
            }
            self.keep(record, unfinished)
            logger.info("%s: the results are in %s", data["id"], self.output_dir / data["id"])
            return ""
        except Exception as error:
            # Away with it first: on a full disk, it makes room for the record.
            shutil.rmtree(unfinished, ignore_errors=True)
            if self.part is None:
                raise
            failure = failure_of(error)
            failure["error"] = failure["error"].replace(unfinished.name, data["id"])
            self.fail(data["id"], failure)
            if no_more_can_be_written(error):
                raise self.stopped(failure["error"]) from error
            return failure["error"]
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Write down why a case of a study has no results.

        Args:
            case: its id.
            failure: see `failure_of`.

        Raises:
            StudyStoppedError: if that cannot be written.
        """
        logger.error("%s: failed: %s", case, failure["error"])
        try:
            self.keep({"id": case, **failure}, self.unfinished_folder())
        except OSError as error:
            raise self.stopped(str(error)) from error

    def stopped(self, reason: str) -> StudyStoppedError:
        """The error that ends a study."""
        return StudyStoppedError(
            f"{self.output_dir}: nothing can be written there any more: {reason} The results that are there are whole; "
            "go on with --resume when this is put right."
        )

    def unfinished_folder(self) -> Path:
        """A new folder to write into.

        Raises:
            StudyStoppedError: if it cannot be made.
        """
        folder = self.output_dir / f"{UNFINISHED}{self.part}-{uuid4().hex}"
        try:
            folder.mkdir()
        except OSError as error:
            raise self.stopped(str(error)) from error
        return folder

    def keep(self, record: Mapping[str, Any], unfinished: Path) -> None:
        """Complete a folder with its record and give it its final name.

        If there is one of that name, its results and its record go; other files stay.
        """
        try:
            text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
            (unfinished / RECORD).write_text(text, encoding="utf-8")
            folder = self.output_dir / record["id"]
            if folder.is_dir():
                before = self.record(record["id"])
                # Without its record a case is not complete, whatever else is there.
                (folder / RECORD).unlink(missing_ok=True)
                for name in before.get("results", {}):
                    (folder / name).unlink(missing_ok=True)
                if any(folder.iterdir()):
                    for path in sorted(unfinished.iterdir(), key=lambda path: path.name == RECORD):
                        path.replace(folder / path.name)
                    return
                folder.rmdir()
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def record(self, case: str) -> dict[str, Any]:
        """The record of a case; empty if there is none that can be read."""
        try:
            content = json.loads((self.output_dir / case / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def reason_to_do(self, pair: Mapping[str, str], hashes: Callable[[Mapping[str, str]], dict[str, str]]) -> str:
        """Why a case is to be done (again); "" if it is complete, of the same inputs and settings.

        Args:
            pair: of the case.
            hashes: see `input_hashes`.
        """
        folder, record = self.output_dir / pair["id"], self.record(pair["id"])
        if not record:
            return "not done yet"
        if "error" in record:
            return "failed before"
        if record.get("settings") != self.settings:
            return "the settings are others"
        for name, size in record.get("results", {}).items():
            if not (folder / name).is_file() or (folder / name).stat().st_size != size:
                return f"{name} is not as it was written"
        now = hashes(pair)
        changed = [key for key in INPUTS if now.get(key) != record.get("hashes", {}).get(key)]
        return f"{', '.join(changed)} changed" if changed else ""


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
