from __future__ import annotations

from pathlib import Path

from sacb_bundle.networks import read_info
from sacb_bundle.networks.baselines import LKUNet
from sacb_bundle.registration.register import Registrar
from tests.engine.workflows import workflow


def test_trained_weights_register_a_pair(study: Path, tmp_path: Path) -> None:
    network = {"_target_": "sacb_bundle.networks.baselines.LKUNet", "base_channels": 2}
    folder, short = str(tmp_path), {"max_epochs": 1, "pairs_per_epoch": 2, "initial": "none"}
    workflow("train", dataset_dir=str(study), output_dir=folder, network_def=network, **short).run()
    assert read_info(tmp_path / "model.pt").network == {"name": "LKUNet", "base_channels": 2}
    registrar = Registrar(tmp_path / "model.pt", initial="none", device="cpu")
    assert type(registrar.network) is LKUNet
    result = registrar(study / "images" / "fixed_0.nii.gz", study / "images" / "moving_0.nii.gz")
    assert result.field.shape == (3, 32, 32, 32)
