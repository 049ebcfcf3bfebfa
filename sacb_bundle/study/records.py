"""Tables and summary statistics of a study."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.data_list import LONGEST_ID_BYTES
from ..errors import InputError
from ..files import is_text, read_json
from ..metrics import LABEL_SCORES, mean_and_std
from ..quality import VERDICTS, flags_of, verdict_of
from ..results.record import (
    MEASURES,
    fault_of_record,
    has_format,
    read_failure,
    read_record,
)
from ..tables import write_csv

STUDY, TABLE, LABELS, SUMMARY, REPORT = OWN_FILES = (
    "study.json", "cases.csv", "labels.csv", "summary.json", "report.html"
)  # fmt: skip
SCORES = ("dice_before", "dice_after", "hd95_before", "hd95_after", "assd_before", "assd_after", *MEASURES)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CaseRecord:
    """State and results of a case.

    Attributes:
        id: id of the case.
        folder: folder of its results.
        status: "done", "failed" or "missing" (not done yet).
        inputs: paths of the images by role.
        measures: measures of the case, see `sacb_bundle.transforms.MeasureRegistrationd`.
        seconds: run time.
        verdict: "good", "doubtful" or "failed", see `sacb_bundle.quality.verdict_of`; "" if not done.
        flags: reasons to review the case.
        error: reason the case failed.
    """

    id: str
    folder: Path
    status: str
    inputs: dict[str, str]
    measures: dict[str, Any]
    seconds: float | None
    verdict: str
    flags: list[str]
    error: str


def read_records(output_dir: Path) -> list[CaseRecord]:
    """Read the records of the cases of a study.

    Args:
        output_dir: folder of the study.

    Returns:
        The record of each case, in the order of study.json.

    Raises:
        InputError: if the folder holds no study.
    """
    study = read_study(output_dir)
    return [_case_record(output_dir / pair["id"], pair) for pair in study["cases"]]


def read_study(output_dir: Path) -> dict[str, Any]:
    """Read study.json.

    Args:
        output_dir: folder of the study.

    Returns:
        The content: the pairs as "cases".

    Raises:
        InputError: if the folder holds no study.json of this version.
    """
    path = output_dir / STUDY
    study = check_study(output_dir)
    if not has_format(study):
        raise InputError(f"{path}: is of another version; register its pairs with sacb batch --resume.")
    for pair in study["cases"]:
        if not all(map(is_text, (*pair.keys(), *pair.values()))):
            raise InputError(f"{path}: a path of {pair['id']} is not text.")
    return study


def check_study(output_dir: Path) -> dict[str, Any]:
    """Check that a folder holds a study, of this or another version.

    Args:
        output_dir: folder of the study.

    Returns:
        The content of study.json.

    Raises:
        InputError: if it holds no study.json, or that of another program.
    """
    path = output_dir / STUDY
    if not path.is_file():
        raise InputError(f"{output_dir}: not the output folder of a study; it holds no {STUDY}.")
    study = read_json(path)
    cases = study.get("cases") if isinstance(study, dict) else None
    if not isinstance(cases, list) or not all(
        isinstance(pair, dict) and _is_case_name(pair.get("id")) for pair in cases
    ):
        raise InputError(f"{path}: does not describe a study; if the file is yours, choose another folder.")
    return study


def _is_case_name(value: object) -> bool:
    """Return whether a value names a folder within the study, not a path elsewhere."""
    return (
        isinstance(value, str)
        and value.isprintable()
        and value not in ("", ".", "..")
        and Path(value).name == value
        and len(os.fsencode(value)) <= LONGEST_ID_BYTES
    )


def _case_record(folder: Path, pair: dict[str, str]) -> CaseRecord:
    """Return the record of a case: failed if its last attempt failed, missing if it has no record that can be used."""
    linked = folder.is_symlink()
    error = "" if linked else read_failure(folder)
    content = {} if linked or error else read_record(folder)
    fault = "its folder is a link" if linked else "" if content or error else fault_of_record(folder)
    if fault:
        logger.warning("%s: left out: %s.", folder.name, fault)
    measures = content.get("measures", {})
    status = "failed" if error else "done" if content else "missing"
    return CaseRecord(
        id=folder.name,
        folder=folder,
        status=status,
        inputs={role: content.get("inputs", pair).get(role, "") for role in ("fixed", "moving")},
        measures=measures,
        seconds=sum(content["seconds"].values()) if "seconds" in content else None,
        verdict=verdict_of(measures) if status == "done" else "",
        flags=flags_of(measures) if status == "done" else [],
        error=error,
    )


def write_table(records: Sequence[CaseRecord], path: Path) -> None:
    """Write cases.csv: a row for each case.

    Args:
        records: records of the cases, see `read_records`.
        path: path of the file.

    Raises:
        InputError: if the file cannot be written.
    """
    columns = ["id", "status", "verdict", "flags", "error", *SCORES, "seconds", "fixed", "moving"]
    write_csv(
        path,
        columns,
        (
            {"id": record.id, "status": record.status, "verdict": record.verdict, "error": record.error}
            | {"flags": "; ".join(record.flags)}
            | {name: record.measures.get(name) for name in SCORES}
            | {"seconds": record.seconds, **record.inputs}
            for record in records
        ),
    )


def write_label_table(records: Sequence[CaseRecord], path: Path) -> None:
    """Write labels.csv: a row for each case and label.

    Args:
        records: records of the cases, see `read_records`.
        path: path of the file.

    Raises:
        InputError: if the file cannot be written.
    """
    rows = ({"id": record.id} | row for record in records for row in record.measures.get("labels", []))
    write_csv(path, ["id", "label", *LABEL_SCORES], rows)


def summary_of(records: Sequence[CaseRecord]) -> dict[str, Any]:
    """Count the cases, and compute the mean and standard deviation over cases of every score and the run time.

    Args:
        records: records of the cases, see `read_records`.

    Returns:
        The content of summary.json: the numbers of "cases", of those "done", of done ones of each verdict ("verdicts"),
        and of those "scored" by label maps; the ids of those "failed" and "missing"; the flags of those "flagged", by
        id; and "mean" and "std" of each of `SCORES` and of "seconds", over the cases that are done.
    """
    done = [record for record in records if record.status == "done"]
    values = {
        name: [record.measures[name] for record in done if record.measures.get(name) is not None] for name in SCORES
    }
    values["seconds"] = [record.seconds for record in done if record.seconds is not None]
    return {
        "cases": len(records),
        "done": len(done),
        "failed": sorted(record.id for record in records if record.status == "failed"),
        "missing": sorted(record.id for record in records if record.status == "missing"),
        "verdicts": {verdict: [record.verdict for record in done].count(verdict) for verdict in VERDICTS},
        "flagged": {record.id: record.flags for record in done if record.flags},
        "scored": len(values["dice_after"]),
        **{name: mean_and_std(of_score) for name, of_score in values.items()},
    }
