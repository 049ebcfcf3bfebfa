from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sacb_bundle.data import phantom_pair
from sacb_bundle.spatial import Grid, Volume
from tests.conftest import write
from tests.engine.workflows import ROOT

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("benchmark_errors")
    # No other logger is turned off in this process.
    monkeypatch.setattr(module.logging, "disable", lambda level: None)
    return module


def rows(script: ModuleType, capsys: pytest.CaptureFixture, *arguments: str) -> list[list[str]]:
    script.main([*arguments, "--steps", "0", "1", "--device", "cpu"])
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in capsys.readouterr().out.splitlines()]


def scores(row: list[str]) -> list[float]:
    return [float(cell.split(" / ")[0].rstrip("*")) for cell in row[1:]]


def test_landmarks(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The moving image is the fixed one, its header shifted by 5 mm, with the landmarks of the fixed one."""
    folder = tmp_path / "ethliver_4dmri_landmarks"
    image, _ = phantom_pair((32, 32, 32))["fixed"]
    shifted = AFFINE.copy()
    shifted[:3, 3] = 3, 4, 0
    (folder / "landmarks").mkdir(parents=True)
    for name, affine in (("a_exh", AFFINE), ("a_cyc", shifted), ("b_exh", AFFINE)):
        write(folder / "images" / f"{name}.nii.gz", image, affine)
        table = "region,vox_x,vox_y,vox_z\nliver,16,16,16\nliver,12.5,20,17\n"
        (folder / "landmarks" / f"{name}.csv").write_text(table)
    head, _, row, mean = rows(script, capsys, "landmarks", str(tmp_path))
    assert head == ["moving onto fixed", "before", "alignment", "0 steps", "1 steps"]
    assert (row[0], mean[0]) == ("a_cyc onto a_exh", "mean")
    before, aligned, *_ = scores(row)
    assert before == 5
    assert aligned < 0.5
    assert scores(mean) == scores(row)


@pytest.fixture
def head(tmp_path: Path) -> Path:
    """A head in two contrasts, and one of another person."""
    image, _ = phantom_pair((32, 32, 32))["fixed"]
    folder = tmp_path / "ms_wholehead_t1_t2_flair" / "images"
    for name, values in (("a_T1", image), ("a_T2", np.where(image > 20, 255 - image, image)), ("b_T1", image)):
        write(folder / f"{name}.nii.gz", values)
    return tmp_path


def test_deformation(script: ModuleType, head: Path, capsys: pytest.CaptureFixture) -> None:
    *_, first, second, mean = rows(script, capsys, "deformation", str(head))
    assert [first[0], second[0]] == ["a_T2 onto a_T1", "a_T1 onto a_T2"]
    for row in (first, second):
        # At most 8 mm, and much less on average.
        assert 1 < scores(row)[1] < 5
    assert scores(mean) == pytest.approx(np.mean([scores(first), scores(second)], axis=0), abs=0.001)


def test_affine(script: ModuleType, head: Path, capsys: pytest.CaptureFixture) -> None:
    *_, first, _, _ = rows(script, capsys, "affine", str(head))
    before, aligned, *_ = scores(first)
    assert before < 0.5
    assert aligned > 0.8


def test_a_field_that_would_be_left_out_has_a_star(script: ModuleType) -> None:
    values = np.array([[2.5, np.nan, 0], [3.0, 0.25, 1]])
    assert script.row_of("pair", values) == "| pair | 2.500 | 3.000* / 0.250 |"


def test_the_ranges_are_quarters_of_the_foreground(script: ModuleType) -> None:
    values = np.zeros((20, 20, 20), np.float32)
    values[:, :, 10:] = np.linspace(100, 200, 2000).reshape(20, 10, 10).repeat(2, axis=1)
    labels = script.ranges_of(Volume(values, Grid(values.shape, 10 * np.eye(4)))).values
    assert (labels[:, :, :10] == 0).all()
    assert np.allclose(np.bincount(labels[:, :, 10:].ravel())[1:], 1000, atol=2)
