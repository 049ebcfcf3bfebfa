from __future__ import annotations

from pathlib import Path

import pytest

from sacb_bundle.engine import make_folder
from sacb_bundle.errors import InputError


def test_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    make_folder(tmp_path / "a" / "b")


def test_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x: results cannot be written there: Not a directory"):
        make_folder(tmp_path / "file" / "x")
