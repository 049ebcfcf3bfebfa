from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacb_bundle.commands import main
from tests.study.runs import SMALL, batch


@pytest.mark.parametrize("name", ["cases.csv", "study.json", "case 01/warped.nii.gz", "case 01/transform.h5"])
def test_a_file_of_the_user_is_not_overwritten(name: str, table: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "scans" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "scans" / name).write_text("of the user")
    assert batch(tmp_path / "scans", model, "--pairs", table) == 1
    assert (tmp_path / "scans" / name).read_text() == "of the user"
    assert not (tmp_path / "scans" / "case 00").exists()


@pytest.mark.parametrize("study_there", [False, True])
@pytest.mark.parametrize("names", [("case.json", "picture.jpg", "warped.nii.gz"), ("error.json",)])
def test_a_record_of_the_user_is_not_replaced(
    names: tuple[str, ...],
    study_there: bool,
    table: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither in a new study, nor where a study lists other cases."""
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    out, folder = tmp_path / "out", tmp_path / "out" / "case 00"
    if study_there:
        table.write_text(lines[0] + lines[2], encoding="utf-8")
        assert batch(out, model, "--pairs", table) == 0
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text('{"patient": 7}')
    table.write_text("".join(lines[:2]), encoding="utf-8")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert batch(out, model, "--pairs", table, "--resume") == 1
    assert f"error: {folder / names[0]}: not the record of a " in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("listed_in", ["case.json", ".replacing.json"])
@pytest.mark.parametrize("verb", ["batch", "register"])
def test_no_file_elsewhere_is_removed_whatever_a_record_lists(
    verb: str, listed_in: str, table: Path, model: Path, tmp_path: Path
) -> None:
    """Anyone may have written a record, and the results of an earlier run are removed."""
    precious = [tmp_path / "precious.nii.gz", tmp_path / "out" / "warped.nii.gz", tmp_path / "scans" / "notes.txt"]
    folder = tmp_path / "out" / "case 00"
    folder.mkdir(parents=True)
    for path in precious:
        path.write_text("of the user")
    (folder / "mine.txt").write_text("of the user")
    names = ["../../precious.nii.gz", "../warped.nii.gz", str(precious[2]), "disp_/../../../precious.nii.gz"]
    names.append("mine.txt")
    record = {"inputs": {}, "hashes": {}, "settings": "", "results": dict.fromkeys(names, 1), "seconds": {}}
    content = record | {"measures": {}} if listed_in == "case.json" else [*names, 5, None, ["x"]]
    (folder / listed_in).write_text(json.dumps(content))
    scans = [f"--{role}={tmp_path / 'scans' / role} 0_images.nii.gz" for role in ("fixed", "moving")]
    register = ["register", *scans, "--output", str(folder), "--model", str(model), *SMALL]
    assert (batch(tmp_path / "out", model, "--pairs", table) if verb == "batch" else main(register)) == 0
    assert all(path.read_text() == "of the user" for path in (*precious, folder / "mine.txt"))
    assert (folder / "transform.nii.gz").is_file()


@pytest.mark.parametrize("name", ["..", "../../elsewhere", "/elsewhere", ""])
def test_a_study_shows_no_folder_but_its_own(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"cases": [{"id": name}]}))
    assert main(["report", str(tmp_path)]) == 1
    assert "does not describe a study" in capsys.readouterr().err
