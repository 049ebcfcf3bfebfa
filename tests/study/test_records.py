"""Records that are damaged, hostile or of another version are not used."""

from __future__ import annotations

import copy
import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sacb_bundle.commands import main
from sacb_bundle.results.record import FORMAT, fault_of_record, read_record
from sacb_bundle.study import Cases
from sacb_bundle.study.records import read_records, summary_of, write_label_table, write_table
from tests.study.runs import rows_of
from tests.study.test_report import MEASURES

ROW = {"label": 1, "dice_before": 0.5, "dice_after": 0.7, "hd95_before": 3.0, "hd95_after": None}
ROW |= {"assd_before": 1.0, "assd_after": None}
RECORD: dict[str, Any] = {
    "format": FORMAT,
    "id": "case",
    "inputs": {"fixed": "/f.nii", "moving": "/m.nii"},
    "hashes": {"fixed": "aa"},
    "settings": "bb",
    "seconds": {"prepare": 1.0},
    "results": {"warped.nii.gz": 1},
    "measures": MEASURES
    | {"labels": [ROW], "left_out": [2], "vanished": []}
    | {k: v for k, v in ROW.items() if k != "label"},
}
STUDY: dict[str, Any] = {"format": FORMAT, "cases": [{"id": "case", "fixed": "/f.nii", "moving": "/m.nii"}]}
WRONG = [None, True, "x", -1, 1.5, float("nan"), float("inf"), 10**400, [], {}, [1], {"a": 1}, "\ud800", "../../x"]
# Values that are as good as those of the record, or that nothing reads.
UNREAD = {"id", "weights", "version"}
BOOLEANS = ("alignment_alone", "uniform_scale", "refined", "fixed_header_lost", "moving_header_lost")


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """Yield the path to each value in nested dictionaries and lists."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places(value[key], (*above, key))


def changed(value: Any, place: tuple, new: Any) -> Any:
    """Return a copy with another value at a place, or without it (`...`)."""
    value = copy.deepcopy(value)
    holder = value
    for key in place[:-1]:
        holder = holder[key]
    if new is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = new
    return value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "warped.nii.gz").write_bytes(b"x")
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    (tmp_path / "case" / "case.json").write_text(json.dumps(RECORD))
    return tmp_path


def test_the_record_itself_is_used(folder: Path) -> None:
    assert fault_of_record(folder / "case") == ""
    assert [record.status for record in read_records(folder)] == ["done"]


@pytest.mark.parametrize("place", list(places(RECORD)), ids=str)
def test_every_value_of_a_record_is_checked(place: tuple, folder: Path, tmp_path: Path) -> None:
    for value in (*WRONG, ...):
        record = changed(RECORD, place, value)
        (folder / "case" / "case.json").write_text(json.dumps(record))
        records = read_records(folder)
        write_table(records, tmp_path / "cases.csv")
        write_label_table(records, tmp_path / "labels.csv")
        json.dumps(summary_of(records), allow_nan=False)
        used = records[0].status == "done"
        assert bool(fault_of_record(folder / "case")) != used
        reason = Cases(folder, {}).reason_to_do(STUDY["cases"][0], dict)
        assert reason == "settings changed" if used else "case.json is" in reason
        if value in (True, "x", "\ud800") and place[0] not in UNREAD and value != record["settings"]:
            texts = ("settings", "fixed", "moving", "fixed_modality", "moving_modality")
            texts += ("refine_reason", "refine_similarity")
            assert not used or place[-1] in texts or (place[-1] in BOOLEANS and value is True)


@pytest.mark.parametrize("name", ["mutual_information", "way_back_percent", "mirror_evidence", "trust", *BOOLEANS])
def test_records_without_the_evidence_are_damaged(name: str, folder: Path) -> None:
    for value in (..., None, "1", [1.0], 1.0 if name in BOOLEANS else True):
        record = changed(RECORD, ("measures", name), value)
        (folder / "case" / "case.json").write_text(json.dumps(record))
        assert fault_of_record(folder / "case") == f"case.json is damaged: {name}"
        assert [(case.status, case.verdict) for case in read_records(folder)] == [("missing", "")]


FAULTS = {"format": "is of another version", **dict.fromkeys(["fixed", "moving"], "a path of case is not text")}


def describes_a_study(place: tuple, value: Any) -> bool:
    """Return whether study.json with another value at a place still describes a study, with fewer cases or paths."""
    if place[-1] in ("fixed", "moving"):
        return value is ... or (isinstance(value, str) and value != "\ud800")
    return {("cases",): value == [], ("cases", 0): value is ..., ("cases", 0, "id"): value == "x"}.get(place, False)


@pytest.mark.parametrize("place", list(places(STUDY)), ids=str)
def test_every_value_of_a_study_is_checked(place: tuple, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (*WRONG, ..., "a\nb", "a\0b", "x" * 256, "/tmp"):
        (folder / "study.json").write_text(json.dumps(changed(STUDY, place, value)))
        code = main(["report", str(folder)])
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert (code, len(errors)) == ((0, 0) if describes_a_study(place, value) else (1, 1)), value
        assert all(f"study.json: {FAULTS.get(place[-1], 'does not describe a study')}" in error for error in errors)


@pytest.mark.parametrize("version", [None, 0, FORMAT + 1, True, str(FORMAT)])
def test_records_of_another_version(
    version: object, folder: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "case" / "case.json").write_text(json.dumps(RECORD | {"format": version}))
    with caplog.at_level(logging.WARNING):
        assert main(["report", str(folder)]) == 0
    assert "case: left out: case.json is of another version, or damaged." in caplog.text
    assert rows_of(folder)["case"]["status"] == "missing"
    assert read_record(folder / "case") == {}
    (folder / "study.json").write_text(json.dumps(STUDY | {"format": version}))
    assert main(["report", str(folder)]) == 1
    assert "study.json: is of another version; register its pairs with sacb batch --resume" in capsys.readouterr().err


def test_a_failure_of_another_version(folder: Path) -> None:
    for version, status in ((None, "done"), (FORMAT, "failed")):
        (folder / "case" / "error.json").write_text(json.dumps({"format": version, "error": "boom"}))
        assert [record.status for record in read_records(folder)] == [status]


def test_a_folder_elsewhere_is_not_read(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (folder / "case").rename(elsewhere := tmp_path_factory.mktemp("elsewhere") / "case")
    (folder / "case").symlink_to(elsewhere)
    assert [record.status for record in read_records(folder)] == ["missing"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_spreadsheets_take_no_cell_for_a_formula(text: str, folder: Path) -> None:
    record = RECORD | {"inputs": {"fixed": text, "moving": "/m"}}
    (folder / "case" / "case.json").write_text(json.dumps(record))
    assert main(["report", str(folder)]) == 0
    with open(folder / "cases.csv", newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert row["fixed"] == f"'{text}"
    assert float(row["similarity_after"]) == MEASURES["similarity_after"]
