"""Train as MONAI Label does, on subjects of a server's studies instead of a folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from sacb_bundle.data import phantom_pair
from sacb_bundle.networks import load_network
from scripts.package_bundle import publishing
from tests.conftest import write
from tests.engine.workflows import ROOT

AFFINES = (
    np.diag([2.0, 2.0, 2.0, 1.0]),
    np.array([[-2.0, 0, 0, 80], [0, -2, 0, 90], [0, 0, 2, -70], [0, 0, 0, 1]]),
    np.array([[0, 0, 2.0, 0], [-2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 0, 1]]),
    np.diag([2.2, 2.0, 1.9, 1.0]),
)


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """Make labelled phantoms in four geometries."""
    folder = tmp_path_factory.mktemp("studies")
    for number, affine in enumerate(AFFINES):
        image, labels = phantom_pair((32, 40, 32), seed=number, amplitude=0.7)["fixed"]
        write(folder / f"{number}.nii.gz", image, affine)
        write(folder / f"{number}_labels.nii.gz", labels, affine)
    return [
        {"image": str(folder / f"{number}.nii.gz"), "label": str(folder / f"{number}_labels.nii.gz")}
        for number in range(len(AFFINES))
    ]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Make a copy of the bundle, with the training config packed for MONAI Label."""
    for name in ("configs", "models"):
        shutil.copytree(ROOT / name, tmp_path / "bundle" / name)
    training = tmp_path / "bundle" / "configs" / "train.json"
    training.write_bytes(publishing(training.read_bytes()))
    return tmp_path / "bundle"


@pytest.mark.slow
@pytest.mark.parametrize(("run_id", "validating"), [("training", 2), ("", 1), ("run", 0)])
def test_studies_of_any_geometry(
    run_id: str,
    validating: int,
    subjects: list[dict[str, str]],
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(bundle.parent)
    config = bundle / "configs" / "train.json"
    handlers = ConfigParser.load_config_file(config)["train"]["handlers"]
    weights = bundle / "models" / "model.pt"
    loader = {"_target_": "CheckpointLoader", "load_path": str(weights), "load_dict": {"model": "$@network"}}
    trained = []
    run = Engine.run

    def counted(self: Engine, *arguments: object, **options: object) -> object:
        if hasattr(self, "optimizer"):
            self.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: trained.append(engine.state.epoch))
        return run(self, *arguments, **options)

    monkeypatch.setattr(Engine, "run", counted)
    before = load_network(weights, "cpu")[0].state_dict()
    split = len(subjects) - validating
    monai.bundle.run(
        run_id=run_id,
        init_id=None,
        final_id=None,
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(config),
        logging_file=False,
        **{
            "bundle_root": str(bundle),
            "train#trainer#max_epochs": 1,
            "train#dataset#data": subjects[:split],
            "validate#dataset#data": subjects[split:],
            "train#handlers": [loader, *handlers],
            "device": "cpu",
        },
    )
    assert trained == [1]
    after = load_network(weights, "cpu")[0].state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved < 0.1, "it goes on from the weights that were there"
    assert ("No epoch is validated (fewer than two validation subjects" in caplog.text) == (validating < 2)
    assert "The subjects do not share a grid" in caplog.text


def test_one_subject_is_not_enough(subjects: list[dict[str, str]], bundle: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        monai.bundle.run(
            run_id="training",
            config_file=str(bundle / "configs" / "train.json"),
            logging_file=False,
            **{"bundle_root": str(bundle), "train#dataset#data": subjects[:1], "validate#dataset#data": []},
        )
    assert "1 subject to train on; pairs need at least two" in str(error.value.__cause__)
    assert torch.load(bundle / "models" / "model.pt", weights_only=True)
