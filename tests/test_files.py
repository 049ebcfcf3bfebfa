from __future__ import annotations

from pathlib import Path

import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.files import check_results, make_folder, whole_file


def test_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    make_folder(tmp_path / "a" / "b")


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x: results cannot be written there: Not a directory"):
        make_folder(tmp_path / "file" / "x")


def test_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with whole_file(path) as unfinished:
        unfinished.write_text("half")
        assert not path.exists()
        unfinished.write_text("whole")
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def fail_half_way(path: Path) -> None:
    path.write_text("half")
    raise OSError("disk full")


def test_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(InputError, match=r"a.txt: cannot be written: disk full"), whole_file(path) as unfinished:
        fail_half_way(unfinished)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    with whole_file(path) as first, whole_file(path) as second:
        assert first != second
        assert first.name.endswith(".nii.gz")
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a" * 300, "file/a"])
def test_a_path_that_cannot_be_written_is_refused_beforehand(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        check_results([tmp_path / name], [])
