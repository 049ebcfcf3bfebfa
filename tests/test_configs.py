from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigParser

import sacb_bundle
from sacb_bundle.data import phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.networks import read_info
from sacb_bundle.registration.register import Registrar
from tests.conftest import write
from tests.engine.workflows import ROOT, reason_of, workflow

OVERLAYS = sorted(path.stem for path in (ROOT / "configs" / "datasets").glob("*.json"))
# That of several data sets is tested apart.
MIXTURE = "general"
OF_ONE_SET = [name for name in OVERLAYS if name != MIXTURE]


@pytest.mark.parametrize("name", ["train", "inference", "evaluate"])
def test_required_properties_are_there(name: str, study: Path, tmp_path: Path) -> None:
    made = workflow(name, dataset_dir=str(study), output_dir=str(tmp_path / "out"))
    assert made.check_properties() == []
    assert not (tmp_path / "out").exists()


def test_all_data_sets_have_an_overlay() -> None:
    assert OVERLAYS == [
        "abdomen_ct", "abdomen_ct_labels", "general", "head_neck_ct", "hippocampus", "ixi", "lpba", "oasis"
    ]  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four phantoms in the range of a CT; one is called atlas."""
    root = tmp_path_factory.mktemp("scans")
    for name, seed in (("atlas", 0), ("a", 1), ("b", 2), ("c", 3)):
        image, labels = phantom_pair((32, 32, 32), seed=seed, amplitude=0.7)["fixed"]
        write(root / "images" / f"{name}.nii.gz", 5 * image.astype(np.int16) - 1000)
        write(root / "labels" / f"{name}.nii.gz", labels)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OF_ONE_SET)
def test_every_overlay_trains_evaluates_and_registers(overlay: str, scans: Path, tmp_path: Path) -> None:
    """The weights of a run with an overlay, used with it and alone."""
    small = {"max_epochs": 1, "pairs_per_epoch": 1, "dataset_dir": str(scans), "output_dir": str(tmp_path / "run")}
    content = json.loads((ROOT / "configs" / "datasets" / f"{overlay}.json").read_text())
    if "crop" in content:
        small["crop#roi_size"] = [32, 32, 32]
    if overlay == "oasis":
        small |= {
            "augmentation#transforms#1#spatial_size": [32, 32, 32],
            "augmentation#transforms#3#roi_size": [16] * 3,
        }
        small["augmentation#transforms#3#max_roi_size"] = [32, 32, 32]
    workflow("train", overlay, **small).run()
    model = str(tmp_path / "run" / "model.pt")
    info = read_info(model)
    # The scans are CT in voxels of 2 mm.
    assert (info.modality, info.spacing_mm) == (content.get("modality", "ct"), 2.0)

    options = {"dataset_dir": str(scans), "checkpoint": model}
    workflow("evaluate", overlay, **options, output_dir=str(tmp_path / "eval")).run()
    summary = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert summary["pairs"] > 0
    assert summary["pairs_left_out"] == {}
    workflow("inference", overlay, **options, output_dir=str(tmp_path / "study")).run()
    study = json.loads((tmp_path / "study" / "summary.json").read_text())
    assert (study["failed"], study["done"]) == ([], study["cases"])
    result = Registrar(model, device="cpu", initial="none")(
        scans / "images" / "a.nii.gz", scans / "images" / "b.nii.gz"
    )
    assert [appearance.modality for appearance in result.prepared.appearances.values()] == [info.modality] * 2


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlays_name_only_keys_of_training_and_inference(overlay: str) -> None:
    names = ("train.json", "inference.json", f"datasets/{overlay}.json")
    train, inference, content = (json.loads((ROOT / "configs" / name).read_text()).keys() for name in names)
    own = {"folders", "kinds", "shares"} if overlay == MIXTURE else set()
    assert {key.removeprefix("+").partition("#")[0] for key in content} - own <= train | inference


@pytest.mark.slow
def test_several_data_sets_train_one_network(scans: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("brains", "abdomens")):
        for seed in range(4):
            pair = phantom_pair((32, 32, 32 + 16 * number), seed=seed, amplitude=0.7)["fixed"]
            for folder, values in zip(("images", "labels"), pair, strict=True):
                write(tmp_path / name / folder / f"{seed}.nii.gz", values)
    options = {"dataset_dir": str(tmp_path), "kinds": ["brains", "abdomens"], "shares": [1, 2]}
    made = workflow(
        "train", MIXTURE, **options, output_dir=str(tmp_path / "run"), max_epochs=1, pairs_per_epoch=6, val_interval=1
    )
    made.run()
    info = read_info(tmp_path / "run" / "model.pt")
    assert (info.spacing_mm, info.modality) == (2.0, "mr")
    assert (info.network["scaled_matching"], info.network["integration_steps"]) == (True, 5)
    assert made.trainer.state.iteration == 6
    assert made.evaluator.state.iteration == 4  # two pairs of each data set


def test_ct_is_clamped_and_scaled_and_cropped(study: Path) -> None:
    made = workflow("train", "abdomen_ct", dataset_dir=str(study), initialize=[], **{"crop#roi_size": [16, 24, 32]})
    pair = made.train_dataset[0]["image"]
    assert pair.shape == (2, 16, 24, 32)
    # The phantom's voxels range from 0 to 255; -160 to 300 is scaled to 0.15 to 0.85. Its background counts as air.
    darkest, brightest = (0.15 + 0.7 * (value + 160) / 460 for value in (0, 255))
    assert pair.min() == 0
    assert darkest <= pair[pair > 0].min() < darkest + 0.015
    assert 0.57 < pair.max() <= brightest


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


def test_a_rule_that_weights_name_and_nobody_has_is_blamed_on_their_file(model: Path, tmp_path: Path) -> None:
    shutil.copy(model, tmp_path / "mine.pt")
    info = json.loads(model.with_suffix(".json").read_text())
    (tmp_path / "mine.json").write_text(json.dumps(info | {"modality": "abdomen"}))
    expected = f"{tmp_path / 'mine.json'}: modality is 'abdomen'; it must be one of auto, mr, ct."
    with pytest.raises(InputError) as error:
        Registrar(tmp_path / "mine.pt", device="cpu")
    assert str(error.value) == expected
    for name in ("inference", "evaluate"):
        parser = ConfigParser(ConfigParser.load_config_file(ROOT / "configs" / f"{name}.json"))
        parser["checkpoint"] = str(tmp_path / "mine.pt")
        with pytest.raises(RuntimeError) as wrapped:
            parser.get_parsed_content("preprocessing")
        assert str(reason_of(wrapped.value)) == expected
