"""Whatever the folder of results holds, nothing is written through links and nothing elsewhere is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacb_bundle.commands import main
from tests.study.runs import SMALL, batch, contents, rows_of

OF_A_STUDY = ["study.json", "cases.csv", "labels.csv", "summary.json", "report.html", ".lock-0-of-1", ".lock-1-of-3"]
OF_A_CASE = ["case.json", "error.json", ".replacing.json", "warped.nii.gz", "picture.jpg", "transform.h5"]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user."""
    (tmp_path / "outside" / "folder").mkdir(parents=True)
    for name in ("file", "folder/file"):
        (tmp_path / "outside" / name).write_text('["warped.nii.gz"]')
    return tmp_path / "outside"


def kept(outside: Path) -> bool:
    """Return whether the folder of the user is unchanged."""
    files = {str(path.relative_to(outside)): path.read_text() for path in outside.rglob("*") if path.is_file()}
    return files == dict.fromkeys(("file", "folder/file"), '["warped.nii.gz"]')


@pytest.fixture
def one(table: Path, tmp_path: Path) -> Path:
    """A table of one pair."""
    path = tmp_path / "one.csv"
    path.write_text("".join(table.read_text(encoding="utf-8").splitlines(keepends=True)[:2]), encoding="utf-8")
    return path


@pytest.mark.parametrize("target", ["file", "folder", "nowhere"])
@pytest.mark.parametrize(
    "name", [*OF_A_STUDY, *(f"case 00/{name}" for name in OF_A_CASE), ".unfinished-0-of-1-" + "0" * 32]
)
def test_links_in_a_study(
    name: str, target: str, one: Path, model: Path, outside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = tmp_path / "out" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / target)
    done = batch(tmp_path / "out", model, "--pairs", one, "--formats", "h5")
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == done, errors
    assert kept(outside)
    if not done:
        assert rows_of(tmp_path / "out")["case 00"]["status"] == "done"


@pytest.mark.parametrize("target", ["file", "folder"])
@pytest.mark.parametrize("name", [*OF_A_CASE, ".unfinished-" + "0" * 32])
def test_links_in_the_folder_of_a_registration(
    name: str, target: str, table: Path, model: Path, outside: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(outside / target)
    scans = [f"--{role}={tmp_path / 'scans' / role} 0_images.nii.gz" for role in ("fixed", "moving")]
    arguments = [
        "register",
        *scans,
        "--model",
        str(model),
        "--output",
        str(tmp_path / "out"),
        "--formats",
        "h5",
        *SMALL,
    ]
    assert main(arguments) in (0, 1)
    assert kept(outside)


@pytest.mark.parametrize("name", OF_A_CASE)
def test_a_failure_is_not_written_through_a_link(
    name: str, one: Path, model: Path, outside: Path, tmp_path: Path
) -> None:
    (tmp_path / "scans" / "fixed 0_images.nii.gz").write_bytes(b"broken")
    (tmp_path / "out" / "case 00").mkdir(parents=True)
    (tmp_path / "out" / "case 00" / name).symlink_to(outside / "file")
    assert batch(tmp_path / "out", model, "--pairs", one) == 1
    assert kept(outside)


@pytest.mark.parametrize("name", [*OF_A_STUDY, *(f"case 00/{name}" for name in OF_A_CASE), "case 00"])
def test_folders_with_the_names_of_files(
    name: str, one: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / name / "mine.txt").write_text("of the user")
    done = batch(tmp_path / "out", model, "--pairs", one, "--formats", "h5")
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == done, errors
    assert (tmp_path / "out" / name / "mine.txt").read_text() == "of the user"


def test_a_linked_folder_of_a_case_is_refused(one: Path, model: Path, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "case 00").symlink_to(outside / "folder")
    assert batch(tmp_path / "out", model, "--pairs", one) == 1
    assert kept(outside)
    assert contents(tmp_path / "out") == {}
