"""Use the bundle with the bundle tools of MONAI, and with those of PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import monai.bundle
import pytest
import torch

from sacb_bundle.data import phantom_pair
from sacb_bundle.networks import SACBNet, load_network
from tests.clusters import field_and_clusters, replaying
from tests.engine.workflows import ROOT

CONFIG, METADATA, WEIGHTS = (
    str(ROOT / name) for name in ("configs/inference.json", "configs/metadata.json", "models/model.pt")
)
# In voxels.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def network() -> SACBNet:
    return load_network(WEIGHTS, "cpu")[0]


def pair(shape: tuple[int, int, int], seed: int) -> torch.Tensor:
    """Return the images of a phantom pair, (1, 2, D, H, W) in [0, 1]."""
    made = phantom_pair(shape, seed=seed)
    return torch.stack([torch.from_numpy(made[role][0]) for role in ("moving", "fixed")])[None] / 255


def largest_difference(exported: torch.nn.Module, network: SACBNet, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return the largest difference between fields, for pairs and sizes other than those of the export.

    Traced operations round differently, so voxels at the border of two clusters can change cluster. The exported
    network is therefore compared with the network that uses the same operations, and this one with the plain network
    that uses its clusters.
    """
    differences = []
    for shape, seed in (((48, 64, 48), 1), ((64, 48, 80), 2)):
        image = pair(shape, seed)
        with torch.no_grad():
            with monkeypatch.context() as patch:
                patch.setattr(torch.jit, "is_tracing", lambda: True)
                as_traced, clusters = field_and_clusters(network, image)
            expected = replaying(network, clusters)(image)
            field = exported(image)
        assert expected.abs().max() > 1
        differences += [float((as_traced - other).abs().max()) for other in (field, expected)]
    return max(differences)


def test_metadata_fits_the_schema() -> None:
    schema = ROOT / "tests" / "meta_schema_20240725.json"
    monai.bundle.verify_metadata(meta_file=METADATA, filepath=str(schema))


def test_the_network_takes_and_gives_what_the_metadata_says() -> None:
    monai.bundle.verify_net_in_out("network_def", meta_file=METADATA, config_file=CONFIG, n=2, any=1, device="cpu")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_a_trace_is_of_every_size(network: SACBNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.ts"
    monai.bundle.ckpt_export(
        "network_def", filepath=str(path), ckpt_file=WEIGHTS, meta_file=METADATA, config_file=CONFIG,
        use_trace=True, input_shape=[1, 2, 32, 48, 64],
    )  # fmt: skip
    assert largest_difference(torch.jit.load(path), network, monkeypatch) <= TOLERANCE


@pytest.mark.slow
def test_an_exported_program_is_of_every_size(network: SACBNet, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {axis: 16 * torch.export.Dim(name, min=2, max=32) for axis, name in enumerate("dhw", start=2)}
    with torch.no_grad():
        program = torch.export.export(network, (pair((48, 64, 80), 0),), dynamic_shapes={"image": sizes})
    assert largest_difference(program.module(), network, monkeypatch) <= TOLERANCE


@pytest.mark.slow
def test_from_another_folder(study: Path, tmp_path: Path) -> None:
    """Set up the packaged bundle as documented, with its folder on PYTHONPATH."""
    package = [sys.executable, ROOT / "scripts" / "package_bundle.py", "--output", tmp_path / "bundle.zip"]
    subprocess.run(package, check=True)
    subprocess.run([sys.executable, "-m", "zipfile", "-e", "bundle.zip", "."], cwd=tmp_path, check=True)
    bundle = tmp_path / "sacb_net_registration"
    (tmp_path / "elsewhere").mkdir()
    program = f"""
import monai.bundle, torch
network = monai.bundle.load("sacb_net_registration", bundle_dir="{tmp_path}", source="github", device="cpu")
weights = torch.load("{bundle}/models/model.pt", weights_only=True)
assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
made = monai.bundle.create_workflow(
    config_file="{bundle}/configs/inference.json", workflow_type="infer", bundle_root="{bundle}",
    dataset_dir="{bundle}/atlas", output_dir="out", logging_file=False)
import sacb_bundle
assert sacb_bundle.__file__.startswith("{bundle}")
print(made.network_def.__class__.__name__)
"""
    environment = os.environ | {"PYTHONPATH": str(bundle)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "elsewhere", env=environment, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "SACBNet"
    options = {"config_file": bundle / "configs" / "inference.json", "bundle_root": bundle, "output_dir": "out"}
    (tmp_path / "two").mkdir()
    for name in ("fixed_0.nii.gz", "moving_0.nii.gz"):
        (tmp_path / "two" / name).symlink_to(study / "images" / name)
    arguments = [f"--{key}={value}" for key, value in (options | {"dataset_dir": tmp_path / "two", "jobs": 0}).items()]
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", *arguments, "--initial=none", "--device=cpu"]
    subprocess.run(command, cwd=tmp_path / "elsewhere", env=environment, check=True)
    assert (tmp_path / "elsewhere" / "out" / "report.html").is_file()
