from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from sacb_bundle.errors import InputError
from sacb_bundle.intensities import appearance_of
from sacb_bundle.registration.outputs import OUTPUTS, Output, check_formats, formats, is_result, write_picture
from sacb_bundle.registration.pair import ROLES, Pair
from sacb_bundle.registration.prepare import Prepared
from sacb_bundle.registration.result import Registration
from sacb_bundle.results.record import read_record
from sacb_bundle.spatial import Grid, Volume

GRID = Grid((16, 16, 16), np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.fixture
def result() -> Registration:
    image = np.random.default_rng(0).random((16, 16, 16), np.float32)
    pair = Pair(Volume(image, GRID), Volume(image, GRID), names=("{fixed}", "b"))
    appearances = dict.fromkeys(ROLES, appearance_of(image, "mr", "mr", "fixed"))
    prepared = Prepared(np.stack([image, image]), GRID, np.eye(4), appearances, dict.fromkeys(ROLES, pair.fixed))
    return Registration(pair, prepared, torch.zeros(3, 16, 16, 16))


def test_every_output_is_a_result_and_protected(result: Registration, tmp_path: Path) -> None:
    written = result.save(tmp_path / "out", formats())
    assert written.keys() == OUTPUTS.keys() - {"warped_labels", "inverse"}
    assert all(is_result(path.name) and path.is_file() for path in written.values())
    assert read_record(tmp_path / "out")["results"].keys() == {path.name for path in written.values()}
    for name in ("../warped.nii.gz", "/warped.nii.gz", "disp_/../a.nii.gz", "case.json", "mine.nii.gz", "warped.nii"):
        assert not is_result(name)


def test_an_output_of_ones_own(result: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_mean(registration: Registration, path: Path) -> None:
        path.write_text(str(registration.prepared.images.mean()))

    assert not is_result("mean.txt")
    monkeypatch.setitem(OUTPUTS, "mean", Output("mean.txt", "mean intensity", write_mean, optional=True))
    assert is_result("mean.txt")
    assert "mean" in formats()
    result.save(tmp_path / "out", ["mean"])
    assert float((tmp_path / "out" / "mean.txt").read_text()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("names", [["nii"], "h5", ["h5", "warped"]])
def test_formats_that_are_none(names: list[str] | str, result: Registration, tmp_path: Path) -> None:
    check_formats(["h5", "tfm"])
    with pytest.raises(InputError, match="it must be a list of some of h5, tfm, learn2reg"):
        result.save(tmp_path / "out", names)
    assert not (tmp_path / "out").exists()


def test_results_replace_those_of_before_and_no_other_file(result: Registration, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    result.save(folder, ["tfm", "learn2reg"])
    (folder / "mine.txt").write_text("of the user")
    result.save(folder)
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "case.json",
        "mine.txt",
        *(OUTPUTS[name].file for name in ("warped", "transform", "initial", "picture")),
    }

    (folder / "transform.h5").write_text("of the user")
    with pytest.raises(InputError, match=r"transform\.h5: a result would replace this file"):
        result.save(folder)
    assert (folder / "transform.h5").read_text() == "of the user"


def test_a_writer_that_fails_leaves_what_was_there(
    result: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(registration: Registration, path: Path) -> None:
        raise InputError(f"{path}: cannot be written: for a reason.")

    result.save(tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setitem(OUTPUTS, "picture", replace(OUTPUTS["picture"], write=fail))
    for folder in ("out", "new"):
        with pytest.raises(InputError, match="for a reason"):
            result.save(tmp_path / folder)
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not (tmp_path / "new").exists()


def test_the_record_of_a_pair(result: Registration, tmp_path: Path) -> None:
    result.save(tmp_path / "pair", facts={"inputs": {"fixed": "/f.nii"}})
    record = json.loads((tmp_path / "pair" / "case.json").read_text())
    assert record["id"] == "pair"
    assert record["inputs"] == {"fixed": "/f.nii"}
    assert record["measures"]["folding_percent"] == 0
    assert record["version"]


def test_a_field_that_is_not_finite_is_refused(result: Registration) -> None:
    with pytest.raises(InputError, match="NaN or infinite; are its weights intact"):
        Registration(result.pair, result.prepared, torch.full((3, 16, 16, 16), float("nan")))


def test_files_that_no_registration_wrote_stay(result: Registration, tmp_path: Path) -> None:
    """A record and a failure that belong to the user, and a folder with the name of a result."""
    names = ("case.json", "error.json", "warped.nii.gz", "transform.h5")
    for name in names:
        (tmp_path / name).write_text('{"patient": 7}')
    with pytest.raises(InputError, match=r"case\.json: not the record of a registration; move it"):
        result.save(tmp_path)
    assert all((tmp_path / name).read_text() == '{"patient": 7}' for name in names)
    for name in ("case.json", "warped.nii.gz", "transform.h5"):
        (tmp_path / name).unlink()
    result.save(tmp_path)
    assert (tmp_path / "error.json").read_text() == '{"patient": 7}'

    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "warped.nii.gz"}
    (tmp_path / "warped.nii.gz").unlink()
    (tmp_path / "warped.nii.gz").mkdir()
    with pytest.raises(InputError, match=r"warped\.nii\.gz: is a folder with the name of a result"):
        result.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_only_the_rest_of_a_killed_process_is_removed(result: Registration, tmp_path: Path) -> None:
    result.save(tmp_path / "out")
    own = [".unfinished-thesis", ".unfinished-", ".unfinished-0123", ".unfinished-" + "0" * 33]
    for name in [*own, ".unfinished-" + "0" * 32]:
        (tmp_path / "out" / name).mkdir()
        (tmp_path / "out" / name / "warped.nii.gz").write_text("half")
    result.save(tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").glob(".unfinished*")) == sorted(own)
    assert all((tmp_path / "out" / name / "warped.nii.gz").read_text() == "half" for name in own)


def test_a_second_writer_is_refused(result: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, second = tmp_path / "out", []

    def meanwhile(registration: Registration, path: Path) -> None:
        with pytest.raises(InputError) as refused:
            registration.save(folder)
        second.append(str(refused.value))
        write_picture(registration, path)

    monkeypatch.setitem(OUTPUTS, "picture", replace(OUTPUTS["picture"], write=meanwhile))
    for _ in range(2):  # into a new folder, and over the results there
        written = result.save(folder)
        assert {path.name for path in folder.iterdir()} == {"case.json", *(path.name for path in written.values())}
    assert second == [f"{folder}: another process is writing results there; wait for it, or choose another folder."] * 2


def test_a_folder_without_locks_is_refused(
    result: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    with pytest.raises(InputError, match=r"out: files cannot be locked there \(No locks available\)"):
        result.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_with_line_breaks_are_names_of_results() -> None:
    assert is_result("disp_a\nb_c.nii.gz")
