"""Run the bundle's inference in MONAI Label without a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
from monailabel.tasks.infer.bundle import BundleInferTask

from tests.label.server import ROOT


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_a_trace_takes_the_place_of_weights(studies: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "sacb_net_registration"
    for name in ("configs", "atlas", "models", "sacb_bundle"):
        shutil.copytree(ROOT / name, bundle / name)
    request = {"model": bundle.name, "image": str(studies / "ras.nii.gz"), "device": "cpu"}
    expected, _ = BundleInferTask(str(bundle), {})(request)
    weights = bundle / "models" / "model.pt"
    monai.bundle.ckpt_export(
        "network_def", filepath=str(weights.with_suffix(".ts")), ckpt_file=str(weights), bundle_root=str(bundle),
        meta_file=str(bundle / "configs" / "metadata.json"), config_file=str(bundle / "configs" / "inference.json"),
        use_trace=True, input_shape=[1, 2, 32, 48, 64],
    )  # fmt: skip
    weights.unlink()
    found, _ = BundleInferTask(str(bundle), {})(request)
    assert (np.asarray(nib.load(found).dataobj) == np.asarray(nib.load(expected).dataobj)).mean() > 0.9999
