from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.data import phantom_pair
from tests.conftest import write
from tests.engine.workflows import ROOT


def test_the_table_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = importlib.import_module("benchmark_refinement")
    for role, (image, labels) in phantom_pair((32, 32, 32)).items():
        write(tmp_path / "hippocampus_msd" / "images" / f"{role}.nii.gz", image)
        write(tmp_path / "hippocampus_msd" / "labels" / f"{role}.nii.gz", labels)
    # No other logger is turned off in this process.
    monkeypatch.setattr(script.logging, "disable", lambda level: None)
    script.main([str(tmp_path), "--pairs", "1", "--steps", "0", "1", "--device", "cpu"])
    head, row = capsys.readouterr().out.splitlines()[2::2]
    assert head == "| data | before | 0 steps | 1 steps |"
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "hippocampus_msd, 1 pairs"
    scores = [float(cells[1]), *(float(cell.split(" / ")[0]) for cell in cells[2:])]
    assert scores[1] > scores[0] > 0.2


def test_the_first_pair_does_not_count_for_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    script = importlib.import_module("benchmark_refinement")
    measured = np.array([[[0.5, 0, 0], [0.6, 0.1, 9]], [[0.3, 0, 0], [0.8, 0.3, 2]]])
    assert script.row_of("set", measured) == "| set, 2 pairs | 0.400 | 0.700 / 0.200 / 2.00 s |"
