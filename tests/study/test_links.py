"""Whatever the folder of results holds, nothing is written through links and nothing elsewhere is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sacb_bundle.commands import main
from tests.study.runs import SMALL, batch, contents, rows_of

OF_A_STUDY = ["study.json", "cases.csv", "labels.csv", "summary.json", "report.html", ".lock-0-of-1", ".lock-1-of-3"]
RESULTS = ["warped.nii.gz", "picture.jpg", "transform.h5"]
OF_A_CASE = ["case.json", "error.json", ".replacing.json", ".sacb-writing.lock", *RESULTS]
NOT_A_FOLDER = "is a folder, but the result is a file"
# Why a link stops a study, by its name and by what it leads to; others are replaced.
REFUSED = {
    "study.json": {"file": "does not describe a study", "folder": NOT_A_FOLDER},
    ".lock-0-of-1": dict.fromkeys(["file", "folder", "nowhere"], "files cannot be locked there"),
    ".lock-1-of-3": dict.fromkeys(["file", "folder", "nowhere"], "Too many levels of symbolic links"),
    "case 00/case.json": {"file": "not the record of a registration", "folder": NOT_A_FOLDER},
    "case 00/error.json": dict.fromkeys(["file", "folder"], "not the record of a failed registration"),
    "case 00/.sacb-writing.lock": dict.fromkeys(["file", "folder", "nowhere"], "files cannot be locked there"),
}
for name in ("cases.csv", "labels.csv", "summary.json", "report.html"):
    REFUSED[name] = {"file": "it holds no study.json", "folder": NOT_A_FOLDER}
for name in RESULTS:
    REFUSED[f"case 00/{name}"] = dict.fromkeys(["file", "nowhere"], "a result would replace this file")
    REFUSED[f"case 00/{name}"]["folder"] = "is a folder with the name of a result"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user."""
    (tmp_path / "outside" / "folder").mkdir(parents=True)
    for name in ("file", "folder/file"):
        (tmp_path / "outside" / name).write_text('["warped.nii.gz"]')
    return tmp_path / "outside"


def check_outcome(code: int, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that a run has ended with 0 and no error, or with 1 and one error for a reason."""
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert (code, len(errors)) == ((1, 1) if reason else (0, 0)), errors
    assert reason in "".join(errors)


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
    reason = REFUSED.get(name, {}).get(target, "")
    check_outcome(done, reason, capsys)
    assert kept(outside)
    if not reason:
        assert rows_of(tmp_path / "out")["case 00"]["status"] == "done"


@pytest.mark.parametrize("target", ["file", "folder"])
@pytest.mark.parametrize("name", [*OF_A_CASE, ".unfinished-" + "0" * 32])
def test_links_in_the_folder_of_a_registration(
    name: str,
    target: str,
    table: Path,
    model: Path,
    outside: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(outside / target)
    scans = [f"--{role}={tmp_path / 'scans' / role} 0_images.nii.gz" for role in ("fixed", "moving")]
    output = ["--output", str(tmp_path / "out"), "--formats", "h5"]
    code = main(["register", *scans, "--model", str(model), *output, *SMALL])
    # A single registration writes no error.json.
    reason = "" if name == "error.json" else REFUSED.get(f"case 00/{name}", {}).get(target, "")
    check_outcome(code, reason, capsys)
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


# Why a folder with the name of a file stops a study; "" if it does not.
OF_FOLDERS = {
    ".lock-0-of-1": "files cannot be locked there",
    ".lock-1-of-3": "Is a directory",
    "case 00/error.json": "not the record of a failed registration",
    "case 00/.sacb-writing.lock": "files cannot be locked there",
    "case 00/.replacing.json": "cannot be written: Is a directory",
    **dict.fromkeys([f"case 00/{name}" for name in RESULTS], "is a folder with the name of a result"),
    "case 00": "",
}


@pytest.mark.parametrize("name", [*OF_A_STUDY, *(f"case 00/{name}" for name in OF_A_CASE), "case 00"])
def test_folders_with_the_names_of_files(
    name: str, one: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    (tmp_path / "out" / name / "mine.txt").write_text("of the user")
    done = batch(tmp_path / "out", model, "--pairs", one, "--formats", "h5")
    check_outcome(done, OF_FOLDERS.get(name, NOT_A_FOLDER), capsys)
    assert (tmp_path / "out" / name / "mine.txt").read_text() == "of the user"


def test_a_linked_folder_of_a_case_is_refused(one: Path, model: Path, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "case 00").symlink_to(outside / "folder")
    assert batch(tmp_path / "out", model, "--pairs", one) == 1
    assert kept(outside)
    assert contents(tmp_path / "out") == {}
