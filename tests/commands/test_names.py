"""Names of files, and files that exist already."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.commands import main
from tests.commands.conftest import voxels


def test_names_are_names_and_not_expressions(scans: Path, registered: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ['$open("made", "w").nii.gz', "@image.nii.gz", "%a@#b ü.nii.gz"]
    for name in names:
        shutil.copy(scans / "moving.nii.gz", name)
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "fixed.nii.gz")]
    assert main(["apply", *arguments, "--input", *names, "--output", "$out", "--device", "cpu"]) == 0
    assert sorted(path.name for path in Path("$out").iterdir()) == sorted(names)
    arguments = ["--fixed", names[0], "--moving", names[1], "--initial", "none", "--output", "@out", "--device", "cpu"]
    assert main(["register", *arguments]) == 0
    assert len(list(Path("@out").iterdir())) == 5
    assert not Path("made").exists()


def test_names_in_any_case(scans: Path, registered: Path, tmp_path: Path) -> None:
    field, moving = tmp_path / "Field.Nii.gz", tmp_path / "Moving.NII.GZ"
    field.write_bytes((registered / "transform.nii.gz").read_bytes())
    moving.write_bytes((scans / "moving.nii.gz").read_bytes())
    call = ["apply", "--transform", str(field), "--reference", str(scans / "fixed.nii.gz"), "--output"]
    assert main([*call, str(tmp_path / "out"), "--input", str(moving)]) == 0
    difference = voxels(tmp_path / "out" / "Moving.nii.gz").astype(int) - voxels(registered / "warped.nii.gz")
    assert np.abs(difference).max() <= 1
    assert main(["invert", "--transform", str(field), "--output", str(tmp_path / "Inverse.NII.Gz")]) == 0
    assert {"Inverse.NII.Gz", "Inverse_error.nii.gz"} < {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("verb", "results"),
    [
        ("apply", ["out/moving.nii.gz", "out/points.csv"]),
        ("invert", ["inverse.nii.gz", "inverse_error.nii.gz"]),
        ("evaluate", ["scores.csv"]),
    ],
)
def test_files_are_replaced_only_with_overwrite(
    verb: str, results: list[str], scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "points.csv").write_text("x,y,z\n-30,-32,28\n")
    labels, transform = registered / "warped_labels.nii.gz", registered / "transform.nii.gz"
    arguments = {
        "apply": ["--reference", scans / "fixed.nii.gz", "--input", scans / "moving.nii.gz", "--points",
                  tmp_path / "points.csv", "--output", tmp_path / "out", "--device", "cpu"],
        "invert": ["--output", tmp_path / results[0], "--device", "cpu"],
        "evaluate": ["--fixed-labels", labels, "--warped-labels", labels, "--output", tmp_path / results[0]],
    }[verb]  # fmt: skip
    command = [verb, "--transform", str(transform), *map(str, arguments)]
    last = tmp_path / results[-1]
    last.parent.mkdir(exist_ok=True)
    last.symlink_to("nowhere")
    assert main(command) == 1
    assert f"{last}: exists already; replace it with --overwrite" in capsys.readouterr().err
    assert not any((tmp_path / name).exists() for name in results)
    assert main([*command, "--overwrite"]) == 0
    made = {name: (tmp_path / name).read_bytes() for name in results}
    assert not last.is_symlink()
    assert main(command) == 1
    last.write_bytes(b"of the user")
    assert main([*command, "--overwrite"]) == 0
    assert {name: (tmp_path / name).read_bytes() for name in results} == made


def test_names_that_the_system_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("x" * 300, "/".join(["x" * 200] * 25), "loop"):
        path = str(tmp_path / name)
        for arguments in (
            ["register", "--fixed", path, "--moving", path, "--output", str(tmp_path / "out")],
            ["batch", "--images", path, "--output", str(tmp_path / "out")],
            ["report", path],
            ["train", "--dataset", path],
        ):
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 2
            last = capsys.readouterr().err.splitlines()[-1]
            assert "no such f" in last or "cannot be read: " in last


def test_names_that_are_not_utf_8(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ITK ends the process at such a name."""
    name = str(tmp_path / os.fsdecode(b"\xff"))
    shutil.copy(scans / "moving.nii.gz", f"{name}.nii.gz")
    fixed = str(scans / "fixed.nii.gz")
    with pytest.raises(SystemExit):
        main(["register", "--fixed", fixed, "--moving", f"{name}.nii.gz", "--output", str(tmp_path / "out")])
    assert "this name is not UTF-8" in capsys.readouterr().err
    os.mkdir(name)
    with pytest.raises(SystemExit):
        main(["report", name])
    for arguments in (
        ["register", "--fixed", fixed, "--moving", fixed, "--output", name],
        ["invert", "--transform", fixed, "--output", f"{name}i.nii.gz"],
        ["apply", "--transform", fixed, "--reference", fixed, "--input", fixed, "--output", name],
        ["batch", "--images", str(scans), "--output", name],
    ):
        assert main(arguments) == 1
        assert "this name is not UTF-8" in capsys.readouterr().err
