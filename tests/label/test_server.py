"""Use the bundle in MONAI Label through its REST interface and its client. The tests share a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
from monailabel.client import MONAILabelClient

from sacb_bundle.checks import default_device
from sacb_bundle.metrics import dice
from sacb_bundle.networks import WeightsInfo
from sacb_bundle.registration.refine import default_steps
from tests.label.conftest import GEOMETRIES
from tests.label.server import NAME, ROOT, Server, comes_true

ATLAS = ROOT / "atlas" / "phantom"
NAMES = json.loads((ATLAS / "labels.json").read_text())


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def sacb(*arguments: object) -> None:
    subprocess.run([Path(sys.executable).with_name("sacb"), *map(str, arguments), "--device", "cpu"], check=True)


def test_the_labels_have_names(server: Server) -> None:
    info = requests.get(f"{server.url}/info/").json()
    assert info["models"][NAME]["labels"] == {name: int(label) for label, name in NAMES.items()}
    config = info["models"][NAME]["config"]
    assert (config["atlas"], config["refine"]) == (["phantom"], default_steps(default_device(), WeightsInfo()))
    assert sorted(info["labels"]) == sorted(NAMES.values())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_labels_are_those_of_the_command_line(name: str, server: Server, tmp_path: Path) -> None:
    scan = server.studies / f"{name}.nii.gz"
    labels = server.label_map(name, tmp_path / "labels.nii.gz")
    atlas = ("--moving", ATLAS / "image.nii.gz", "--moving-labels", ATLAS / "labels.nii.gz")
    sacb("register", "--fixed", scan, *atlas, "--output", tmp_path / "out")
    transform = tmp_path / "out" / "transform.nii.gz"
    carry = ("--labels", ATLAS / "labels.nii.gz", "--output", tmp_path / "applied")
    sacb("apply", "--transform", transform, "--reference", scan, *carry)
    result, reference = nib.load(labels), nib.load(scan)
    assert result.shape == reference.shape
    assert np.allclose(result.affine, reference.affine, atol=1e-4)
    assert (voxels(labels) == voxels(tmp_path / "out" / "warped_labels.nii.gz")).all()
    assert (voxels(labels) == voxels(tmp_path / "applied" / "labels.nii.gz")).mean() >= 0.999


def test_a_request_chooses_its_refinement(server: Server, tmp_path: Path) -> None:
    plain = voxels(server.label_map("ras", tmp_path / "plain.nii.gz"))
    refined = voxels(server.label_map("ras", tmp_path / "refined.nii.gz", refine=4, similarity="lncc", smoothness=0.5))
    atlas = ("--moving", ATLAS / "image.nii.gz", "--moving-labels", ATLAS / "labels.nii.gz")
    options = ("--refine", 4, "--similarity", "lncc", "--smoothness", 0.5, "--output", tmp_path / "out")
    sacb("register", "--fixed", server.studies / "ras.nii.gz", *atlas, *options)
    assert (refined == voxels(tmp_path / "out" / "warped_labels.nii.gz")).all()
    assert 0.95 < (refined == plain).mean() < 1
    assert (voxels(server.label_map("ras", tmp_path / "again.nii.gz")) == plain).all()


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name != "asl"])
def test_labels_lie_where_they_belong(name: str, server: Server, tmp_path: Path) -> None:
    truth = voxels(server.studies / "labels" / "final" / f"{name}.nii.gz").astype(np.int32)
    found = voxels(server.label_map(name, tmp_path / "labels.nii.gz")).astype(np.int32)
    assert np.mean(list(dice(truth, found, range(1, 8)).values())) > 0.8


def test_the_client(server: Server, tmp_path: Path) -> None:
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    assert NAME in client.info()["models"]
    path, parameters = client.infer(NAME, "ras", {"atlas": "phantom"})
    assert (voxels(Path(path)) == voxels(server.label_map("ras", tmp_path / "labels.nii.gz"))).all()
    assert parameters["label_names"] == {name: int(label) for label, name in NAMES.items()}


def test_a_second_request_does_not_read_the_weights_again(server: Server, tmp_path: Path) -> None:
    before = voxels(server.label_map("ras", tmp_path / "before.nii.gz"))
    weights = server.bundle / "models" / "model.pt"
    content, state = weights.read_bytes(), weights.stat()
    try:
        weights.write_bytes(b"no weights")
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
        assert (voxels(server.label_map("ras", tmp_path / "again.nii.gz")) == before).all()
    finally:
        weights.write_bytes(content)
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize(
    ("image", "parameters", "reason"),
    [
        ("unknown", {}, "There is no scan of this name"),
        ("damaged", {}, "the file is damaged or cut short"),
        ("ras", {"atlas": "../phantom"}, "atlas is '../phantom'; it must be one of phantom"),
        ("ras", {"atlas": 7}, "atlas is 7"),
        ("ras", {"refine": 1001}, "refine is 1001; it must be a whole number of steps from 0 to 1000"),
        ("ras", {"refine": "$print('ran')"}, "may not begin with $"),
    ],
)
def test_the_server_goes_on_after_an_error(
    image: str, parameters: dict, reason: str, server: Server, tmp_path: Path
) -> None:
    start = server.log.stat().st_size
    assert server.infer(image, **parameters).status_code >= 400
    assert comes_true(lambda: reason in server.log.read_bytes()[start:].decode())
    server.label_map("ras", tmp_path / "labels.nii.gz")


def test_a_client_names_no_files(server: Server, tmp_path: Path) -> None:
    hostile = {"fixed_mask": "/etc/passwd", "moving": "/etc/passwd", "moving_labels": "/etc/passwd", "fixed": "x"}
    labels = server.label_map("ras", tmp_path / "labels.nii.gz", **hostile)
    assert (voxels(labels) == voxels(server.label_map("ras", tmp_path / "plain.nii.gz"))).all()


def test_batch_inference(server: Server) -> None:
    (server.studies / "damaged.nii.gz").unlink()
    server.run("batch/infer", label_tag="original", max_workers=1, multi_gpu=False, device="cpu")
    made = server.studies / "labels" / "original"
    assert sorted(path.name for path in made.glob("*.nii.gz")) == sorted(f"{name}.nii.gz" for name in GEOMETRIES)


@pytest.mark.parametrize("run_id", ["training", ""])
def test_inference_after_training_has_the_new_weights(run_id: str, server: Server, tmp_path: Path) -> None:
    before = voxels(server.label_map("asl", tmp_path / "before.nii.gz"))
    options = {"run_id": run_id, "max_epochs": 1, "val_split": 0.34, "multi_gpu": False, "device": "cpu"}
    start = server.log.stat().st_size
    server.run("train", **options)
    log = server.log.read_bytes()[start:].decode()
    assert log.count("Saved the ") == 1, log[-3000:]
    after = voxels(server.label_map("asl", tmp_path / "after.nii.gz"))
    # Random weights give the same labels as the shipped ones in 80 % of the voxels.
    assert 0.95 < (after == before).mean() < 1
    # Any other file there would be offered as weights.
    assert [path.name for path in (server.bundle / "models").glob("*.pt")] == ["model.pt"]
