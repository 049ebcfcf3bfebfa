"""Train with label maps, with both directions, and within masks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Events

from sacb_bundle.engine import MeanLoss, TrainingBatch, prepare_pair
from sacb_bundle.losses import (
    DiceLoss,
    InverseConsistencyLoss,
    LocalNCCLoss,
    RegistrationLoss,
    SmoothnessLoss,
    TrainingLoss,
)
from tests.conftest import write
from tests.engine.workflows import reason_of, workflow

TERMS = {"dice_weight": 0.5, "inverse_consistency_weight": 0.25}
LABELS = list(range(1, 8))


def options(data: Path, folder: Path) -> dict[str, Any]:
    affine = {"_target_": "RandAffined", "keys": "$@moving_keys + @fixed_keys", "mode": "$2 * @modes"}
    return {
        "dataset_dir": str(data),
        "output_dir": str(folder),
        "max_epochs": 2,
        "pairs_per_epoch": 2,
        "learning_rate": 0.001,
        "augmentation": {"_target_": "Compose", "transforms": [affine | {"prob": 1, "rotate_range": [0.1, 0.1, 0.1]}]},
    }


def state_of(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    return state


@pytest.fixture(scope="module")
def masked(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set with masks that leave out the upper third of each image."""
    root = tmp_path_factory.mktemp("masked") / "set"
    shutil.copytree(study, root)
    for image in (root / "images").iterdir():
        mask = np.zeros((32, 32, 32), np.uint8)
        mask[:, :, :20] = 1
        write(root / "masks" / image.name, mask)
    return root


def test_a_continued_training_ends_with_the_same_bytes(masked: Path, tmp_path: Path) -> None:
    whole = workflow("train", **options(masked, tmp_path / "whole"), **TERMS)
    whole.run()
    output = whole.trainer.state.output
    assert [tuple(item["label"].shape) for item in output] == [(6, 32, 32, 32)] * 2  # a pair and its swapped pair
    interrupted = workflow("train", **options(masked, tmp_path / "parts"), **TERMS)
    interrupted.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=1), lambda engine: engine.terminate())
    interrupted.run()
    workflow("train", resume=True, **options(masked, tmp_path / "parts"), **TERMS).run()
    assert (tmp_path / "whole" / "last.pt").read_bytes() == (tmp_path / "parts" / "last.pt").read_bytes()

    with pytest.raises(RuntimeError) as error:
        workflow("train", resume=True, **options(masked, tmp_path / "parts"), dice_weight=0.4).run()
    message = str(reason_of(error.value))
    assert "dice_weight 0.5 → 0.4; inverse_consistency_weight 0.25 → None. Resume" in message


def test_without_the_options_a_training_is_as_before(study: Path, tmp_path: Path) -> None:
    made = workflow("train", **options(study, tmp_path) | {"max_epochs": 1})
    made.run()
    assert made.trainer.state.output[0]["label"].shape == (2, 32, 32, 32)
    settings = state_of(tmp_path)["settings"]
    assert settings["loss"][0] == "RegistrationLoss"
    assert not {"dice_weight", "inverse_consistency_weight"} & settings.keys()
    assert settings["preprocessing"][1]["transforms"][1][1]["keys"] == [
        "image",
        "label",
        "moving_labels",
        "fixed_labels",
    ]
    assert settings["augmentation"][1]["transforms"][0][1]["keys"] == ["moving", "fixed"]


def test_what_lies_outside_the_masks_changes_no_weight(masked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / masked.name
    shutil.copytree(masked, other)
    for kind, value in (("images", 90), ("labels", 3)):
        for path in (other / kind).iterdir():
            values = np.asarray(nib.load(path).dataobj).copy()
            values[8:24, 8:24, 22:28] = value
            write(path, values)
    ends = []
    for number, data in enumerate((masked, other)):
        small = {"max_epochs": 1, "pairs_per_epoch": 1}
        workflow("train", **options(data, tmp_path / str(number)) | small, **TERMS).run()
        ends.append(state_of(tmp_path / str(number)))
    assert all(torch.equal(value, ends[1]["network"][name]) for name, value in ends[0]["network"].items())
    assert ends[0]["best"]["value"] == ends[1]["best"]["value"]


def test_pairs_with_label_maps_and_a_mask(masked: Path, tmp_path: Path) -> None:
    rows = ["fixed,moving,fixed_labels,moving_labels,fixed_mask"]
    for number in range(2):
        names = [f"{kind}/{role}_{number}.nii.gz" for kind in ("images", "labels") for role in ("fixed", "moving")]
        rows.append(",".join([*names, f"masks/fixed_{number}.nii.gz" if number else ""]))
    root = tmp_path / "set"
    shutil.copytree(masked, root)
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    data = {"dataset_dir": "nowhere", "data_list": str(root / "pairs.csv"), "initial": "none", "mirror": True}
    made = workflow("train", **options(masked, tmp_path / "out") | data | {"max_epochs": 1}, **TERMS)
    pairs = made.parser.get_parsed_content("train#dataset")
    # Without a mask, everything counts; the other one is that of the working grid.
    assert pairs[0]["masks"].mean() == 1
    assert pairs[1]["masks"][0].mean() == 1
    assert 0.5 < pairs[1]["masks"][1].mean() < 0.7
    assert set(pairs[1]["moving_labels"].unique().tolist()) == {0, *LABELS}
    made.run()
    assert made.trainer.state.output[0]["label"].shape[0] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dice_weight": -1}, "dice_weight is -1; it must be a finite, non-negative number."),
        ({"inverse_consistency_weight": "1e"}, "inverse_consistency_weight is '1e'; it must be a finite"),
        (TERMS | {"mirror": True}, "dice_weight is 0.5 and mirror is true, but .*; set mirror to false."),
        (
            TERMS
            | {"augmentation#transforms#0#keys": ["moving", "fixed"], "augmentation#transforms#0#mode": "nearest"},
            "augmentation: RandAffined moves moving, fixed, but not moving_labels, moving_mask, fixed_labels, "
            "fixed_mask, which the loss compares; name them",
        ),
        (
            TERMS | {"augmentation#transforms#0#mode": "bilinear"},
            "augmentation: RandAffined has the mode bilinear for moving_labels; it must be nearest.",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(change: dict, message: str, masked: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        workflow("train", **options(masked, tmp_path / "out") | change).run()
    assert re.match(message, str(reason_of(error.value)))
    assert not (tmp_path / "out").exists()


def test_training_subjects_without_label_maps_are_refused(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study, tmp_path / "set")
    (tmp_path / "set" / "labels" / "fixed_1.nii.gz").unlink()
    with pytest.raises(RuntimeError) as error:
        workflow("train", **options(tmp_path / "set", tmp_path / "out"), dice_weight=1).run()
    assert str(reason_of(error.value)) == (
        "dice_weight is 1, but 1 of 4 subjects or pairs to train on have no label maps, such as "
        f"{tmp_path / 'set' / 'images' / 'fixed_1.nii.gz'}; add them, or set dice_weight to 0."
    )


@pytest.mark.parametrize("crop", [False, True])
def test_a_mask_that_leaves_nothing_is_named(crop: bool, masked: Path, tmp_path: Path) -> None:
    """Before or after the crop of the training."""
    shutil.copytree(masked, tmp_path / "set")
    path = tmp_path / "set" / "masks" / "fixed_1.nii.gz"
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[:3] = crop
    write(path, mask)
    keys = {"_target_": "CenterSpatialCropd", "keys": "@spatial_keys", "allow_missing_keys": True, "roi_size": [16] * 3}
    change = {"crop": keys} if crop else {}
    with pytest.raises(RuntimeError) as error:
        workflow("train", **options(tmp_path / "set", tmp_path / "out") | change).run()
    expected = f"{path}: no voxel of the training grid is within, so nothing would be compared."
    assert str(reason_of(error.value)) == expected


def batch(size: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 8, (2, size, 1, 12, 12, 12), generator=generator).float()
    return {
        "image": torch.rand(size, 2, 12, 12, 12, generator=generator),
        "moving_labels": labels[0],
        "fixed_labels": labels[1],
        "masks": (torch.rand(size, 2, 12, 12, 12, generator=generator) > 0.2).float(),
    }


def test_a_batch_alone_is_the_pair() -> None:
    given = {"image": batch()["image"]}
    assert all(
        torch.equal(*both) for both in zip(TrainingBatch()(given, "cpu"), prepare_pair(given, "cpu"), strict=True)
    )


def test_a_batch_in_both_directions_swaps_everything() -> None:
    given = batch()
    images, target = TrainingBatch(with_labels=True, both_directions=True)(given, "cpu")
    assert torch.equal(images, target[:, :2])
    moving, fixed = given["image"].split(1, dim=1)
    assert torch.equal(images, torch.cat([given["image"], torch.cat([fixed, moving], dim=1)]))
    labels = torch.cat([given["moving_labels"], given["fixed_labels"]], dim=1)
    assert torch.equal(target[:, 2:4], torch.cat([labels, labels.flip(1)]))
    assert torch.equal(target[:, 4:], torch.cat([given["masks"], given["masks"].flip(1)]))


@pytest.mark.parametrize("with_masks", [False, True])
def test_the_loss_is_the_weighted_sum_of_its_terms(with_masks: bool) -> None:
    given = batch()
    if not with_masks:
        del given["masks"]
    _, target = TrainingBatch(with_labels=True, both_directions=True)(given, "cpu")
    field = torch.rand(4, 3, 12, 12, 12, generator=torch.Generator().manual_seed(1))
    registration = RegistrationLoss(LocalNCCLoss(5), SmoothnessLoss(), 1.0)
    dice, consistency = DiceLoss(LABELS), InverseConsistencyLoss()
    masks = [target[:, 4:]] if with_masks else []
    expected = registration(field, target[:, :2], *masks)
    expected = expected + 0.5 * dice(field, target[:, 2:4], *masks) + 0.25 * consistency(field)
    found = TrainingLoss(registration, dice, 0.5, consistency, 0.25)(field, target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_validation_loss_is_that_within_the_masks() -> None:
    given = batch()
    field = torch.rand(2, 3, 12, 12, 12, generator=torch.Generator().manual_seed(1))
    loss = RegistrationLoss(LocalNCCLoss(5), SmoothnessLoss(), 1.0)
    items = [{"image": image, "pred": pred} for image, pred in zip(given["image"], field, strict=True)]
    batches: list[dict[str, torch.Tensor]] = [{"masks": given["masks"][0]}, {}]
    metric = MeanLoss(loss)
    metric.iteration_completed(SimpleNamespace(state=SimpleNamespace(batch=batches, output=items)))  # type: ignore[arg-type]
    expected = loss(field[:1], given["image"][:1], given["masks"][:1]) + loss(field[1:], given["image"][1:])
    assert metric.compute() == pytest.approx(expected.item() / 2, rel=1e-5)
