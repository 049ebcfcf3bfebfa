"""The folder of results, for results of any names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.results.result_folder import ResultFolder, lock

RECORD = {"inputs": {}, "hashes": {}, "measures": {}}


def write(folder: ResultFolder, *names: str, unfinished: Path | None = None) -> None:
    """Check a folder, and write results and their record."""
    folder.check()
    with folder.replaced(unfinished) as made:
        for name in names:
            (made / name).write_text("result")
        (made / "case.json").write_text(json.dumps(RECORD | {"results": dict.fromkeys(names, 6)}))


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    """A folder, not there yet, whose results end in .out."""
    return ResultFolder(tmp_path / "folder", lambda name: name.endswith(".out"))


@pytest.mark.parametrize("beside", [False, True])
def test_results_replace_results_and_nothing_else(beside: bool, folder: ResultFolder, tmp_path: Path) -> None:
    unfinished = tmp_path / "unfinished" if beside else None
    write(folder, "a.out", "b.out", unfinished=unfinished)
    (folder.path / "mine.txt").write_text("of the user")
    write(folder, "b.out", "c.out", unfinished=unfinished)
    assert {path.name for path in folder.path.iterdir()} == {"b.out", "c.out", "mine.txt", "case.json"}
    assert list(tmp_path.iterdir()) == [folder.path]
    (folder.path / "d.out").write_text("of the user")
    with pytest.raises(InputError, match=r"d\.out: a result would replace this file"):
        write(folder, "d.out", unfinished=unfinished)
    assert (folder.path / "d.out").read_text() == "of the user"


def test_what_a_killed_process_left_beside_results_is_tidied(folder: ResultFolder) -> None:
    write(folder, "a.out")
    for name in (".replacing.json", ".sacb-writing.lock"):
        (folder.path / name).touch()
    folder.tidy()
    assert {path.name for path in folder.path.iterdir()} == {"a.out", "case.json"}


def test_a_locked_folder_is_left_alone(folder: ResultFolder) -> None:
    write(folder, "a.out")
    taken = lock(folder.path / ".sacb-writing.lock")
    for use in (lambda: write(folder, "b.out"), folder.tidy):
        with pytest.raises(InputError, match="folder: another process is writing results there"):
            use()
    taken.release()
    assert {path.name for path in folder.path.iterdir()} == {"a.out", "case.json", ".sacb-writing.lock"}
    write(folder, "b.out")
    assert {path.name for path in folder.path.iterdir()} == {"b.out", "case.json"}
