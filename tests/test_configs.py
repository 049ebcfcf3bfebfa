from __future__ import annotations

import json
from pathlib import Path

import pytest

import sacb_bundle
from tests.engine.workflows import ROOT, workflow

OVERLAYS = sorted(path.stem for path in (ROOT / "configs" / "datasets").glob("*.json"))


@pytest.mark.parametrize("name", ["train", "inference", "evaluate"])
def test_required_properties_are_there(name: str, study: Path, tmp_path: Path) -> None:
    made = workflow(name, dataset_dir=str(study), output_dir=str(tmp_path / "out"))
    assert made.check_properties() == []
    # In training, TensorBoard's writer makes the folder.
    assert (tmp_path / "out").exists() == (name == "train")


def test_all_data_sets_have_an_overlay() -> None:
    assert OVERLAYS == ["abdomen_ct", "head_neck_ct", "hippocampus", "ixi", "lpba", "oasis"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_name_only_keys_of_training_and_inference(overlay: str) -> None:
    names = ("train.json", "inference.json", f"datasets/{overlay}.json")
    train, inference, content = (json.loads((ROOT / "configs" / name).read_text()).keys() for name in names)
    assert content <= train | inference


def test_ct_is_clamped_and_scaled_and_cropped(study: Path) -> None:
    made = workflow("train", "abdomen_ct", dataset_dir=str(study), initialize=[], **{"crop#roi_size": [16, 24, 32]})
    pair = made.train_dataset[0]["image"]
    assert pair.shape == (2, 16, 24, 32)
    # The phantom's voxels range from 0 to 255; -1000 to 1000 is scaled to 0 to 1.
    assert pair.min() == 0.5
    assert 0.55 < pair.max() < 0.6275


def test_atlas_of_ixi_is_every_moving_image(study: Path) -> None:
    made = workflow("train", "ixi", dataset_dir=str(study), atlas="fixed_0", initialize=[])
    assert {moving for moving, _ in made.train_dataset.pairs} == {0}
    assert made.train_dataset_data[0]["image"].endswith("fixed_0.nii.gz")


def test_metadata_agrees_with_the_project() -> None:
    metadata = json.loads((ROOT / "configs" / "metadata.json").read_text())
    assert metadata["version"] == sacb_bundle.__version__
    pins = (ROOT / "constraints.txt").read_text()
    versions = metadata["required_packages_version"] | {
        name: metadata[f"{key}_version"] for name, key in (("monai", "monai"), ("torch", "pytorch"), ("numpy", "numpy"))
    }
    for name, version in versions.items():
        assert f"{name}=={version}" in pins.lower(), name
