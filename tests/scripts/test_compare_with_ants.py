from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sacb_bundle import Registrar
from sacb_bundle.data import phantom_pair
from sacb_bundle.ops import warp
from tests.conftest import write
from tests.engine.workflows import ROOT


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    module = importlib.import_module("compare_with_ants")
    # No other logger is turned off in this process.
    monkeypatch.setattr(module.logging, "disable", lambda level: None)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for role, (image, labels) in phantom_pair((32, 32, 32)).items():
        write(tmp_path / "hippocampus_msd" / "images" / f"{role}.nii.gz", image)
        write(tmp_path / "hippocampus_msd" / "labels" / f"{role}.nii.gz", labels)
    return tmp_path


@pytest.mark.parametrize("inverted", [False, True])
def test_syn_brings_the_images_closer(inverted: bool, script: ModuleType, data: Path) -> None:
    benchmark = importlib.import_module("benchmark_refinement")
    ((fixed, moving),) = benchmark.pairs(data, "hippocampus_msd", 1)
    settings = Registrar(device="cpu", initial="none").settings
    field = script.syn(benchmark.prepared_pair(settings, fixed, moving, inverted))
    moving_image, fixed_image = torch.from_numpy(benchmark.prepared_pair(settings, fixed, moving).images).split(1)
    before, after = (float((image - fixed_image).abs().mean()) for image in (
        moving_image, warp(moving_image[None], field[None])[0]))  # fmt: skip
    assert after < 0.7 * before


def test_the_table(script: ModuleType, data: Path, capsys: pytest.CaptureFixture) -> None:
    script.main([str(data), "--pairs", "1", "--steps", "0", "--device", "cpu"])
    head, row = capsys.readouterr().out.splitlines()[2::2]
    assert head == "| data | before | ANTs SyN | 0 steps |"
    scores = [float(cell.split(" / ")[0]) for cell in row.strip("| ").split(" | ")[1:]]
    assert np.all(np.array(scores[1:]) > scores[0])


def test_without_ants(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        script.main([str(tmp_path)])
    assert capsys.readouterr().err.endswith("error: antspyx is not installed; pip install antspyx\n")
