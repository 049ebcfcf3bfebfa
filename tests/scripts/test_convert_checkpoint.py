from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from sacb_bundle.networks import SACBNet, load_checkpoint, load_network
from tests.engine.workflows import ROOT
from tests.golden_case import GoldenCase


def convert(source: Path, target: Path, spacing: str = "1") -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "convert_checkpoint.py"),
        str(source),
        str(target),
        "--spacing",
        spacing,
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_converted_checkpoint_is_loadable(tmp_path: Path) -> None:
    torch.save({"state_dict": GoldenCase("channel_c2_n5").published_state}, tmp_path / "published.pt")
    run = convert(tmp_path / "published.pt", tmp_path / "model.pt")
    assert run.returncode == 0, run.stderr
    load_checkpoint(SACBNet(base_channels=2, descriptor="channel"), tmp_path / "model.pt")
    network, info = load_network(tmp_path / "model.pt", "cpu")
    assert (network.options["base_channels"], network.options["descriptor"]) == (2, "channel")
    assert (info.spacing_mm, info.modality) == (1.0, "mr")


def test_bad_checkpoint_leaves_no_file(tmp_path: Path) -> None:
    torch.save({"weights": {}}, tmp_path / "published.pt")
    run = convert(tmp_path / "published.pt", tmp_path / "model.pt")
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")
    assert 'holds a dict "state_dict"' in run.stderr
    assert not (tmp_path / "model.pt").exists()


def test_a_spacing_that_no_grid_can_have_is_refused(tmp_path: Path) -> None:
    run = convert(tmp_path / "published.pt", tmp_path / "model.pt", spacing="0")
    assert (run.returncode, run.stderr) == (1, "error: spacing is 0.0; it must be a number of mm from 0.01 to 100.\n")
