from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import Compose, RandFlip, ScaleIntensity

from sacb_bundle.errors import InputError
from sacb_bundle.networks import SACBNet
from sacb_bundle.study.fingerprint import input_hashes, scan_hash, settings_hash
from sacb_bundle.transforms import PreparePaird, ScaleIntensityd
from tests.engine.workflows import ROOT

SETTINGS = {"trained_spacing_mm": 2.0, "size_divisor": 16}
DIFFERENT: list[dict[str, Any]] = [
    {"network": SACBNet()},
    {"network": SACBNet(num_clusters=5)},
    {"network": SACBNet(max_iterations=6)},
    {"network": SACBNet(descriptor="mix")},
    {"network": SACBNet(clustering_backend="torch-kmeans")},
    {"transforms": Compose([PreparePaird(**SETTINGS, initial="none")])},
    {"transforms": Compose([PreparePaird(**SETTINGS, initial="affine")])},
    {"transforms": Compose([PreparePaird(**SETTINGS, initial="none", modality="ct")])},
    {"transforms": Compose([PreparePaird(**SETTINGS, initial="none"), ScaleIntensityd("image", "ct")])},
    {"transforms": Compose([ScaleIntensity(0, 1)])},
    {"transforms": Compose([ScaleIntensity(0, 2)])},
    {"formats": ["h5"]},
    {"formats": []},
    {"spacing": 2.0},
    {"spacing": np.array([2.0, 2.0])},
    {"device": "cuda"},
    {"type": torch.float16},
    {"type": torch.float32},
    {"values": torch.tensor([1.0])},
    {"values": torch.tensor([2.0])},
    {"number": np.float32(1)},
    {"number": np.float32(2)},
    {"part": slice(1)},
    {"part": slice(2)},
    {"inner": partial(torch.clamp, min=0)},
    {"inner": partial(torch.clamp, min=1)},
]


def test_every_setting_counts() -> None:
    hashes = [settings_hash(settings) for settings in DIFFERENT]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("make", [SACBNet, lambda: PreparePaird(**SETTINGS), lambda: Compose([RandFlip(0.5)])])
def test_the_same_settings_have_the_same_hash(make: Any) -> None:
    torch.rand(3)
    assert settings_hash({"made": make()}) == settings_hash({"made": make()})


def test_the_hash_of_settings_is_that_of_another_process() -> None:
    program = (
        "from sacb_bundle.networks import SACBNet; from sacb_bundle.study.fingerprint import settings_hash;"
        "print(settings_hash({'network': SACBNet(), 'names': {'b', 'a', 'c'}}))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert other.stdout.split()[-1] == settings_hash({"network": SACBNet(), "names": {"a", "b", "c"}})


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"content")
    second.write_bytes(b"content")
    assert scan_hash(first) == scan_hash(second)
    second.write_bytes(b"changed")
    assert scan_hash(first) != scan_hash(second)
    assert input_hashes({"fixed": first, "id": "x"}) == {"fixed": scan_hash(first)}
    with pytest.raises(InputError, match="gone: cannot be read"):
        scan_hash(tmp_path / "gone")
