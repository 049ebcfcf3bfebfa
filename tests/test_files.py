from __future__ import annotations

import os
from pathlib import Path

import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.files import (
    check_file,
    check_results,
    file_hash,
    make_folder,
    read_json,
    read_or_empty,
    read_text,
    reading,
    whole_file,
)


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


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("[1]")
    (tmp_path / "link").symlink_to("file")
    assert check_file(tmp_path / "link") == 3
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "series").mkdir()
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(100))
    for name, message in {
        "pipe": "is a pipe, a socket or a device",
        "endless": "is a pipe, a socket or a device",
        "circle": "cannot be read: Too many levels of symbolic links",
        "series": r"is a folder; a file is needed",
        "scan": r"is a folder of DICOM files, which a converter such as dcm2niix turns into NIfTI; a file is needed",
        "gone": "no such file",
        "file/below": "no such file",
        "a" * 300: "cannot be read: File name too long",
        "a\0b": "is not a path that a file can have",
        "a\ud800b": "is not a path that a file can have",
    }.items():
        for read in (check_file, read_text, read_json, file_hash):
            with pytest.raises(InputError, match=message) as error:
                read(tmp_path / name)
            assert str(error.value).isprintable()
            str(error.value).encode()


def test_a_pipe_in_the_place_of_a_record_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "case.json")
    assert read_or_empty(tmp_path / "case.json", dict) == {}


def test_a_path_that_cannot_be_encoded_is_an_error() -> None:
    with pytest.raises(InputError, match=r"a\\ud800: is not a path"), reading("a\ud800"):
        os.stat("a\ud800")


def test_a_text_is_not_larger_than_texts_are(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").touch()
    os.truncate(tmp_path / "pairs.csv", 2**40)
    with pytest.raises(InputError, match="is larger than 256 MiB"):
        read_text(tmp_path / "pairs.csv")


def test_messages_are_one_line_of_text_that_can_be_written() -> None:
    message = str(InputError("a\nb\r\nc\udcff" + "x" * 5000 + " end."))
    assert message.startswith(r"a\nb\r\nc\udcffxxx")
    assert message.endswith("xxx end.")
    assert len(message) < 1300


def test_results_have_endings_in_any_case(tmp_path: Path) -> None:
    with whole_file(tmp_path / "Field.NII.Gz") as unfinished:
        assert unfinished.name.endswith(".nii.gz")
        unfinished.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["Field.NII.Gz"]
