"""Tables and summary statistics of a study."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from ..errors import InputError
from ..files import read_json, whole_file
from ..metrics import LABEL_SCORES, mean_and_std
from ..registration.flags import flags_of
from ..registration.result_folder import read_failure, read_record

STUDY, TABLE, LABELS, SUMMARY, REPORT = OWN_FILES = (
    "study.json", "cases.csv", "labels.csv", "summary.json", "report.html"
)  # fmt: skip
MEASURES = (
    "similarity_before", "similarity_after", "folding_percent",
    "displacement_mean_mm", "displacement_max_mm", "displacement_border_mm", "inverse_failed_percent",
    "alignment_shift_mm", "alignment_turn_degrees", "alignment_scale",
)  # fmt: skip
SCORES = ("dice_before", "dice_after", "hd95_before", "hd95_after", "assd_before", "assd_after", *MEASURES)


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
        flags: reasons to review the case.
        error: reason the case failed.
    """

    id: str
    folder: Path
    status: str
    inputs: dict[str, str]
    measures: dict[str, Any]
    seconds: float | None
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
    return [_case_record(output_dir / pair["id"], pair, study["trained_on"]) for pair in study["cases"]]


def read_study(output_dir: Path) -> dict[str, Any]:
    """Read study.json.

    Args:
        output_dir: folder of the study.

    Returns:
        The content: the pairs as "cases", and "trained_on", see `flags_of`, which is None if it was not recorded.

    Raises:
        InputError: if the folder holds no valid study.json.
    """
    path = output_dir / STUDY
    if not path.is_file():
        raise InputError(f"{output_dir}: not the output folder of a study; it holds no {STUDY}.")
    study = read_json(path)
    if (
        not isinstance(study, dict)
        or not isinstance(study.get("cases"), list)
        or not all(isinstance(pair, dict) and _is_folder_name(pair.get("id")) for pair in study["cases"])
        or not isinstance(study.setdefault("trained_on", None), (dict, NoneType))
    ):
        raise InputError(f"{path}: does not describe a study; if the file is yours, choose another folder.")
    return study


def _is_folder_name(value: object) -> bool:
    """Return whether a value names a folder directly within another, not a path elsewhere."""
    return isinstance(value, str) and value not in ("", ".", "..") and Path(value).name == value


def _case_record(folder: Path, pair: dict[str, str], trained_on: dict[str, Any] | None) -> CaseRecord:
    """Return the record of a case: failed if its last attempt failed, missing if its record is damaged or absent."""
    error = read_failure(folder)
    content = {} if error else read_record(folder)
    measures = content.get("measures", {})
    if any(measures.get(name) is None for name in MEASURES):
        content, measures = {}, {}
    status = "failed" if error else "done" if content else "missing"
    return CaseRecord(
        id=folder.name,
        folder=folder,
        status=status,
        inputs={role: content.get("inputs", pair).get(role, "") for role in ("fixed", "moving")},
        measures=measures,
        seconds=sum(content["seconds"].values()) if "seconds" in content else None,
        flags=flags_of(measures, trained_on) if status == "done" else [],
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
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["id", "status", "flags", "error", *SCORES, "seconds", "fixed", "moving"])
    for record in records:
        writer.writerow(
            [record.id, record.status, "; ".join(record.flags), record.error]
            + [record.measures.get(name) for name in SCORES]
            + [record.seconds, record.inputs.get("fixed"), record.inputs.get("moving")]
        )
    with whole_file(path) as unfinished:
        unfinished.write_text(table.getvalue(), encoding="utf-8")


def write_label_table(records: Sequence[CaseRecord], path: Path) -> None:
    """Write labels.csv: a row for each case and label.

    Args:
        records: records of the cases, see `read_records`.
        path: path of the file.

    Raises:
        InputError: if the file cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, ["id", "label", *LABEL_SCORES], lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerows({"id": record.id} | row for row in record.measures.get("labels", []))
    with whole_file(path) as unfinished:
        unfinished.write_text(table.getvalue(), encoding="utf-8")


def summary_of(records: Sequence[CaseRecord]) -> dict[str, Any]:
    """Count the cases, and compute the mean and standard deviation over cases of every score and the run time.

    Args:
        records: records of the cases, see `read_records`.

    Returns:
        The content of summary.json: the numbers of "cases", of those "done" and of those "scored" by label maps; the
        ids of those "failed" and "missing"; the flags of those "flagged", by id; and "mean" and "std" of each of
        `SCORES` and of "seconds", over the cases that are done.
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
        "flagged": {record.id: record.flags for record in done if record.flags},
        "scored": len(values["dice_after"]),
        **{name: mean_and_std(of_score) for name, of_score in values.items()},
    }


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write summary.json.

    Args:
        summary: summary of the cases, see `summary_of`.
        path: path of the file.

    Raises:
        InputError: if the file cannot be written.
    """
    with whole_file(path) as unfinished:
        text = json.dumps(summary, indent=2, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")
