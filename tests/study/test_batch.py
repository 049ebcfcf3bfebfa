from __future__ import annotations

import csv
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from filelock import FileLock

from sacb_bundle.commands import main
from sacb_bundle.engine import RegistrationInferer
from sacb_bundle.files import file_hash
from sacb_bundle.metrics import dice
from sacb_bundle.networks import read_info, write_info
from sacb_bundle.registration.outputs import OUTPUTS, write_picture
from sacb_bundle.registration.result import Registration
from sacb_bundle.study.part import Part
from tests.conftest import write
from tests.study.runs import RESULTS, batch, contents, leftovers, rows_of

CASES = ["case 00", "case 11", "case 22", "case 01"]


@pytest.mark.parametrize("jobs", [0, 2])
def test_a_batch_writes_what_register_writes(jobs: int, table: Path, model: Path, tmp_path: Path) -> None:
    assert batch(tmp_path / "out", model, "--pairs", table, jobs=jobs) == 0
    for case in CASES:
        assert sorted(path.name for path in (tmp_path / "out" / case).iterdir()) == RESULTS
    scans = tmp_path / "scans"
    arguments = ["--fixed", scans / "fixed 0_images.nii.gz", "--moving", scans / "moving 1_images.nii.gz"]
    arguments += ["--moving-labels", scans / "moving 1_labels.nii.gz", "--output", tmp_path / "single"]
    arguments += ["--model", model, "--device", "cpu", "--initial", "none"]
    assert main(["register", *map(str, arguments)]) == 0
    assert contents(tmp_path / "single") == contents(tmp_path / "out" / "case 01")

    rows = rows_of(tmp_path / "out")
    assert list(rows) == CASES
    fixed, warped = (
        np.asarray(nib.load(path).dataobj)
        for path in (scans / "fixed 0_labels.nii.gz", tmp_path / "out" / "case 01" / "warped_labels.nii.gz")
    )
    assert float(rows["case 01"]["dice_after"]) == pytest.approx(
        np.mean(list(dice(fixed, warped, range(1, 8)).values()))
    )
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["done"], summary["failed"]) == (4, 4, [])
    values = [float(row["dice_after"]) for row in rows.values()]
    assert summary["dice_after"] == pytest.approx({"mean": np.mean(values), "std": np.std(values, ddof=1)})
    assert not leftovers(tmp_path / "out")


def test_a_case_that_fails_stops_no_other(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corrupt = tmp_path / "scans" / "moving 1_images.nii.gz"
    corrupt.write_bytes(corrupt.read_bytes()[:-50])
    assert batch(tmp_path / "out", model, "--pairs", table, jobs=2) == 1
    assert "error: 2 of 4 cases failed; the first, case 11: " in capsys.readouterr().err
    rows = rows_of(tmp_path / "out")
    assert [row["status"] for row in rows.values()] == ["done", "failed", "done", "failed"]
    assert rows["case 11"]["error"] == f"{corrupt}: the file is damaged or cut short."
    assert [path.name for path in (tmp_path / "out" / "case 11").iterdir()] == ["error.json"]
    assert sorted(path.name for path in (tmp_path / "out" / "case 22").iterdir()) == RESULTS


def test_a_bug_is_written_down_with_its_traceback(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sacb_bundle.quality.measures.folding_percentage", lambda image: 1 / 0)
    assert batch(tmp_path / "out", model, "--pairs", table) == 1
    record = json.loads((tmp_path / "out" / "case 00" / "error.json").read_text())
    assert record["error"] == "ZeroDivisionError: division by zero"
    assert "measures.py" in record["traceback"]


def test_an_interrupted_study_tells_what_is_done(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter(range(2))
    infer = RegistrationInferer.__call__

    def interrupted(*arguments: object, **options: object) -> torch.Tensor:
        if next(times, None) is None:
            raise KeyboardInterrupt
        return infer(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RegistrationInferer, "__call__", interrupted)
        assert batch(tmp_path / "out", model, "--pairs", table) == 130
    assert "continues with --resume" in capsys.readouterr().err
    statuses = [row["status"] for row in rows_of(tmp_path / "out").values()]
    assert statuses == ["done", "done", "missing", "missing"]
    assert "2 of 4 cases are done" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_resume_does_what_is_not_complete_and_says_why(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert batch(out, model, "--pairs", table) == 0
    undisturbed = contents(out)
    made = {case: (out / case / "case.json").stat().st_mtime_ns for case in CASES}
    capsys.readouterr()

    assert batch(out, model, "--pairs", table, "--resume") == 0
    assert "4 of 4 cases are complete" in capsys.readouterr().out
    assert {case: (out / case / "case.json").stat().st_mtime_ns for case in CASES} == made

    shutil.rmtree(out / "case 00")
    (out / "case 11" / "warped.nii.gz").write_bytes(b"cut")
    (out / "case 22" / "note.txt").write_text("of the user")
    moving = tmp_path / "scans" / "moving 2_images.nii.gz"
    image = nib.load(moving)
    write(moving, np.asarray(image.dataobj) // 2)
    assert batch(out, model, "--pairs", table, "--resume") == 0
    said = capsys.readouterr().out
    assert "1 of 4 cases are complete" in said
    for reason in (
        "case 00 (not done yet)", "case 11 (warped.nii.gz has changed since it was written)", "case 22 (moving changed)"
    ):  # fmt: skip
        assert f"to do: {reason}" in said
    now = contents(out)
    changed = {name for name in now if now[name] != undisturbed[name]}
    assert changed == {"case 22/transform.nii.gz", "case 22/warped.nii.gz", "case 22/warped_labels.nii.gz"}
    assert (out / "case 22" / "note.txt").read_text() == "of the user"

    assert batch(out, model, "--pairs", table, "--resume", "--label-interpolation", "linear") == 0
    assert "case 01 (settings changed)" in capsys.readouterr().out


@pytest.mark.slow
def test_results_of_before_go_when_a_case_is_done_anew(table: Path, model: Path, tmp_path: Path) -> None:
    assert batch(tmp_path / "out", model, "--pairs", table, "--formats", "tfm") == 0
    assert (tmp_path / "out" / "case 00" / "transform.tfm").is_file()
    assert batch(tmp_path / "out", model, "--pairs", table) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "case 00").iterdir()) == RESULTS


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open(table, "a", encoding="utf-8") as stream:
        stream.write("scans/fixed 0_images.nii.gz,scans/gone.nii.gz,,,lost\n")
    assert batch(tmp_path / "out", model, "--pairs", table, "--dry-run") == 0
    plan = capsys.readouterr().out
    for line in (
        "pairs     5; 1 cannot",
        "sizes     32x32x32 (4)",
        "labels    1 without",
        "lost: ",
        "gone.nii.gz: no such",
    ):
        assert line in plan
    assert not (tmp_path / "out").exists()


def test_any_name_and_place(study: Path, model: Path, tmp_path: Path) -> None:
    """Spaces, Unicode, dots and markup in names, the same names in several folders, symbolic links."""
    source = study / "images" / "fixed_0.nii.gz"
    names = ["a b/scan.1.nii.gz", "Zoë/scan.1.nii.gz", "$x @y/<b>&scan.nii.gz", "%z/'q\".nii.gz"]
    for name in names:
        (tmp_path / name).parent.mkdir()
        shutil.copy(source, tmp_path / name)
    os.symlink(source, tmp_path / "link.nii.gz")
    with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as stream:
        pairs = [(name, "link.nii.gz", case) for name, case in zip(names, ("", "", "$1-0", "@pairs"), strict=True)]
        csv.writer(stream).writerows([("fixed", "moving", "id"), *pairs])
    assert batch(tmp_path / "the out", model, "--pairs", tmp_path / "pairs.csv") == 0
    rows = rows_of(tmp_path / "the out")
    assert {row["status"] for row in rows.values()} == {"done"}
    assert list(rows) == ["link_to_a b_scan.1", "link_to_Zoë_scan.1", "$1-0", "'@pairs"]  # no formula


@pytest.mark.slow
def test_pairs_of_folders(study: Path, model: Path, tmp_path: Path) -> None:
    for folder, role, numbers in (("a", "fixed", (0, 1)), ("b", "moving", (1, 2))):
        for number in numbers:
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(study / "images" / f"{role}_{number}.nii.gz", tmp_path / folder / f"s{number}.nii.gz")
    (tmp_path / "a" / "._s0.nii.gz").write_bytes(b"of a Mac")
    by_name = ["--fixed-dir", tmp_path / "a", "--moving-dir", tmp_path / "b"]
    assert batch(tmp_path / "by name", model, *by_name) == 0
    assert list(rows_of(tmp_path / "by name")) == ["s1"]
    assert batch(tmp_path / "all", model, "--images", tmp_path / "a") == 0
    assert list(rows_of(tmp_path / "all")) == ["s0_to_s1", "s1_to_s0"]
    atlas = ["--atlas", tmp_path / "a" / "s0.nii.gz", "--atlas-labels", study / "labels" / "fixed_0.nii.gz"]
    assert batch(tmp_path / "atlas", model, *atlas, "--images", tmp_path / "a") == 0
    assert list(rows_of(tmp_path / "atlas")) == ["s1"]
    assert (tmp_path / "atlas" / "s1" / "warped_labels.nii.gz").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fixed-dir", "a", "--moving-dir", "c"], "No scan has the same name in"),
        (["--images", "empty"], "holds no scan"),
        (["--images", "c"], "holds one scan"),
        (["--atlas", "c/t.nii.gz", "--images", "c"], "no scan other than the atlas"),
    ],
)
def test_folders_without_pairs(
    arguments: list[str], message: str, model: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/s.nii.gz", "c/t.nii.gz"):
        write(Path(name), np.arange(512, dtype=np.uint8).reshape(8, 8, 8))
    Path("empty").mkdir()
    assert batch(Path("out"), model, *arguments) == 1
    assert message in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("arguments", [[], ["--pairs", "p.csv", "--images", "."], ["--atlas", "p.csv"]])
def test_which_pairs_must_be_said_once(
    arguments: list[str], model: Path, tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.csv").touch()
    with pytest.raises(SystemExit) as ended:
        batch(Path("out"), model, *arguments)
    assert ended.value.code == 2
    assert "choose the pairs with one of" in capsys.readouterr().err


@pytest.mark.slow
def test_scans_among_the_results_are_refused(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batch(tmp_path / "out", model, "--pairs", table) == 0
    own = f"fixed,moving,id\nout/case 00/warped.nii.gz,{tmp_path / 'scans' / 'fixed 0_images.nii.gz'},case 00\n"
    (tmp_path / "own.csv").write_text(own)
    before = contents(tmp_path / "out")
    assert batch(tmp_path / "out", model, "--pairs", tmp_path / "own.csv") == 1
    assert "case 00/warped.nii.gz: a result would overwrite" in capsys.readouterr().err
    assert contents(tmp_path / "out") == before


@pytest.mark.slow
def test_ranks_share_a_study(table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an array of independent jobs: the report is written after all of them."""
    out = tmp_path / "out"
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in (1, 0, 2):
        monkeypatch.setenv("RANK", str(rank))
        assert batch(out, model, "--pairs", table) == 0
        if rank == 0:
            assert [row["status"] for row in rows_of(out).values()] == ["done", "done", "missing", "done"]
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.delenv("RANK")
    assert main(["report", str(out)]) == 0
    assert {row["status"] for row in rows_of(out).values()} == {"done"}
    whole = tmp_path / "whole"
    assert batch(whole, model, "--pairs", table) == 0
    assert contents(out) == contents(whole)


def test_ranks_do_not_take_each_other_for_a_study_parted_otherwise(tmp_path: Path) -> None:
    (tmp_path / ".lock-0-of-1").touch()
    with ThreadPoolExecutor(8) as pool:
        locks = list(pool.map(lambda rank: Part(rank, 8).take(tmp_path), range(8)))
    assert len(locks) == 8


def test_a_lock_of_another_program_does_not_stop_a_study(tmp_path: Path) -> None:
    with FileLock(tmp_path / ".lock-mine"):
        lock = Part(0, 1).take(tmp_path)
        assert lock.is_locked
        lock.release()


def test_an_invalid_rank(table: Path, model: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "2")
    assert batch(tmp_path / "out", model, "--pairs", table) == 1
    assert "RANK is '2' and WORLD_SIZE '2'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_input_fails_its_case_alone_and_its_results_stay(
    table: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert batch(out, model, "--pairs", table) == 0
    shutil.rmtree(out / "case 22")
    scans = tmp_path / "scans"
    scans.rename(tmp_path / "away")
    assert batch(out, model, "--pairs", table, "--resume") == 1
    assert [row["status"] for row in rows_of(out).values()] == ["failed"] * 4
    assert rows_of(out)["case 00"]["dice_after"] == ""
    assert "case 00 (" in capsys.readouterr().out
    before = contents(out)
    (tmp_path / "away").rename(scans)
    assert batch(out, model, "--pairs", table, "--resume") == 0
    assert "3 of 4 cases are complete" in capsys.readouterr().out
    assert [row["status"] for row in rows_of(out).values()] == ["done"] * 4
    assert before.items() <= contents(out).items()


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"results": 5}',
        '{"id": "x", "inputs": {}, "hashes": {}, "settings": "", "results": {}}',
    ],
)
def test_a_damaged_record_is_none(record: str, table: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:2]))
    assert batch(out, model, "--pairs", table) == 0
    before = contents(out)
    (out / "case 00" / "case.json").write_text(record)
    assert main(["report", str(out)]) == 0
    assert rows_of(out)["case 00"]["status"] == "missing"
    assert batch(out, model, "--pairs", table, "--resume") == 0
    assert contents(out) == before
    assert rows_of(out)["case 00"]["status"] == "done"


def test_voxels_in_a_file_of_their_own_count(study: Path, model: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(study / "images" / "moving_0.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / "moving.mhd"))
    (tmp_path / "pairs.csv").write_text(f"fixed,moving,id\n{study / 'images' / 'fixed_0.nii.gz'},moving.mhd,case\n")
    assert batch(tmp_path / "out", model, "--pairs", tmp_path / "pairs.csv") == 0
    before = contents(tmp_path / "out")
    (tmp_path / "moving.raw").write_bytes((tmp_path / "moving.raw").read_bytes()[::-1])
    assert batch(tmp_path / "out", model, "--pairs", tmp_path / "pairs.csv", "--resume") == 0
    assert contents(tmp_path / "out") != before


def test_weights_that_are_not_finite(
    table: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {key: torch.full_like(value, float("nan")) for key, value in torch.load(model, weights_only=True).items()}
    torch.save(state, tmp_path / "nan.pt")
    write_info(read_info(model), tmp_path / "nan.pt")
    assert batch(tmp_path / "out", tmp_path / "nan.pt", "--pairs", table) == 1
    assert "nan.pt: not a checkpoint of this network. unfit values: " in capsys.readouterr().err


def test_the_record_names_the_weights_that_were_loaded(
    table: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training may replace the file while a study runs."""
    for ending in (".pt", ".json"):
        shutil.copy(model.with_suffix(ending), tmp_path / f"mine{ending}")
    weights, loaded = tmp_path / "mine.pt", file_hash(model)

    def meanwhile(result: Registration, path: Path) -> None:
        weights.write_bytes(b"other weights")
        write_picture(result, path)

    monkeypatch.setitem(OUTPUTS, "picture", replace(OUTPUTS["picture"], write=meanwhile))
    table.write_text("".join(table.read_text(encoding="utf-8").splitlines(keepends=True)[:3]), encoding="utf-8")
    assert batch(tmp_path / "out", weights, "--pairs", table) == 0
    records = [json.loads((tmp_path / "out" / case / "case.json").read_text()) for case in CASES[:2]]
    assert [record["weights"] for record in records] == [loaded, loaded]
