from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sacb_bundle.engine import SaveBest, data_names, epochs_to_train
from sacb_bundle.errors import InputError
from sacb_bundle.networks import SACBNet, WeightsInfo, describe, load_network, read_info
from sacb_bundle.registration.register import Registrar
from sacb_bundle.spatial import body_of, read_image
from tests.conftest import write
from tests.engine.workflows import ROOT, reason_of, workflow


def options(study: Path, folder: Path) -> dict:
    return {
        "dataset_dir": str(study),
        "ckpt_dir": str(folder),
        "output_dir": str(folder / "logs"),
        "max_epochs": 4,
        "pairs_per_epoch": 3,
        "learning_rate": 0.001,
        "augmentation": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "RandAffined", "keys": ["moving", "fixed"], "prob": 0.5, "rotate_range": [0.1, 0.1, 0.1]},
                {"_target_": "RandAdjustContrastd", "keys": "moving", "prob": 0.5},
            ],
        },
    }


def logged(folder: Path) -> dict[str, int]:
    """Return the number of values of each TensorBoard tag."""
    counts: dict[str, int] = {}
    for file in folder.glob("events*"):
        events = EventAccumulator(str(file)).Reload()
        for tag in events.Tags()["scalars"]:
            counts[tag] = counts.get(tag, 0) + len(events.Scalars(tag))
    return counts


@pytest.fixture(scope="module")
def trained(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    workflow("train", **options(study, folder)).run()
    return folder


def test_training_lowers_the_loss_and_logs_it(trained: Path) -> None:
    events = [EventAccumulator(str(file)).Reload() for file in (trained / "logs").glob("events*")]
    losses = [scalar.value for event in events if "train_loss" in event.Tags()["scalars"]
              for scalar in event.Scalars("train_loss")]  # fmt: skip
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    assert {"val_mean_dice", "val_folding_percent"} <= logged(trained / "logs").keys()


def test_best_weights_are_kept(trained: Path) -> None:
    load_network(trained / "model.pt", "cpu")
    state = torch.load(trained / "logs" / "last.pt", weights_only=True)
    assert state["epoch"] == 4
    assert state["best"]["metric"] == "val_mean_dice"
    assert 0 < state["best"]["value"] <= 1
    assert 1 <= state["best"]["epoch"] <= 4


@pytest.mark.parametrize("resume_by_path", [False, True])
def test_a_continued_training_ends_with_the_same_bytes(
    resume_by_path: bool, study: Path, trained: Path, tmp_path: Path
) -> None:
    interrupted = workflow("train", **options(study, tmp_path))
    interrupted.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    interrupted.run()
    assert torch.load(tmp_path / "logs" / "last.pt", weights_only=True)["epoch"] == 2
    torch.rand(5)

    resume: bool | str = True
    if resume_by_path:
        resume = str(shutil.move(tmp_path / "logs" / "last.pt", tmp_path / "elsewhere.pt"))
    continued = workflow("train", resume=resume, **options(study, tmp_path))
    continued.run()
    assert continued.trainer.state.epoch == 4
    ends = [torch.load(folder / "logs" / "last.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert ends[0]["lr_scheduler"] == ends[1]["lr_scheduler"]
    for key in ("metric", "value", "epoch"):
        assert ends[0]["best"][key] == ends[1]["best"][key]
    for name, value in ends[0]["network"].items():
        assert torch.equal(value, ends[1]["network"][name]), name
    for index, moments in ends[0]["optimizer"]["state"].items():
        assert torch.equal(moments["exp_avg"], ends[1]["optimizer"]["state"][index]["exp_avg"])
    best = [torch.load(folder / "model.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_a_training_in_the_folder_of_the_bundle_leaves_its_weights_alone(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    choices = {key: value for key, value in options(study, tmp_path).items() if not key.endswith("_dir")}
    workflow("train", **choices | {"bundle_root": ".", "dataset_dir": str(study), "max_epochs": 1}).run()
    assert (tmp_path / "models" / "model.pt").read_bytes() == (ROOT / "models" / "model.pt").read_bytes()
    load_network(tmp_path / "runs" / "model.pt", "cpu")


def test_without_labels_the_loss_decides(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "images", tmp_path / "study" / "images")
    training = workflow("train", **options(tmp_path / "study", tmp_path) | {"max_epochs": 2, "mirror": True})
    training.run()
    state = torch.load(tmp_path / "logs" / "last.pt", weights_only=True)
    assert state["best"]["metric"] == "val_loss"
    assert state["best"]["value"] <= training.evaluator.state.metrics["val_loss"] < 0
    assert (tmp_path / "model.pt").is_file()
    assert "val_loss" in logged(tmp_path / "logs")


def test_where_no_epoch_is_validated_the_last_weights_are_kept(study: Path, tmp_path: Path) -> None:
    workflow("train", val_interval=3, **options(study, tmp_path) | {"max_epochs": 2}).run()
    last = torch.load(tmp_path / "logs" / "last.pt", weights_only=True)["network"]
    kept = load_network(tmp_path / "model.pt", "cpu")[0].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in last.items())


def test_only_a_better_validation_replaces_the_best_weights(tmp_path: Path) -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.key_metric_name = "val_mean_dice"  # type: ignore[attr-defined]
    keeper = SaveBest(tmp_path / "model.pt", network, WeightsInfo())
    keeper.attach(evaluator)
    saved = []
    for epoch, (value, best_epoch) in enumerate([(0.5, 1), (0.4, 1), (0.6, 3)], start=1):
        torch.nn.init.constant_(network.weight, epoch)
        evaluator.state.epoch = epoch
        evaluator.state.best_metric, evaluator.state.best_metric_epoch = value, best_epoch  # type: ignore[attr-defined]
        keeper.save_if_best(evaluator)
        saved.append(torch.load(tmp_path / "model.pt", weights_only=True)["weight"].item())
    assert saved == [1, 1, 3]


def test_continuing_elsewhere_brings_the_best_weights_along(study: Path, trained: Path, tmp_path: Path) -> None:
    training = workflow("train", resume=str(trained / "logs" / "last.pt"), **options(study, tmp_path))
    training.run()
    best = [torch.load(folder / "model.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_diverged_training_ends_with_an_error(study: Path, tmp_path: Path) -> None:
    training = workflow("train", **options(study, tmp_path) | {"learning_rate": 1e30, "max_epochs": 1})
    with pytest.raises(RuntimeError) as error:
        training.run()
    assert "training diverged" in str(reason_of(error.value))
    assert not (tmp_path / "model.pt").exists()


def test_batches_of_pairs(study: Path, tmp_path: Path) -> None:
    training = workflow("train", batch_size=2, **options(study, tmp_path) | {"max_epochs": 1, "pairs_per_epoch": 4})
    training.run()
    assert training.trainer.state.iteration == 2
    assert (tmp_path / "model.pt").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seed": 1, "batch_size": 2, "ncc_window": 7},
            r"batch_size 1 → 2; loss\.similarity\.window 9 → 7; seed 0 → 1\. Resume",
        ),
        ({"network_def#base_channels": 4}, r"network\.base_channels 2 → 4\. Resume"),
        ({"learning_rate": 0.01}, "Resume with the original learning_rate"),
        ({"initial": "none"}, r": preprocessing\.transforms\.0\.settings\.initial affine → none\. Resume"),
        ({"pairing": "consecutive"}, r": pairing ordered → consecutive\. Resume"),
        ({"val_pairing": "ordered", "labels": [1]}, r": labels \[1, .*\] → \[1\]; val_pairing .* → ordered\. Resume"),
        (
            {"crop": {"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [16] * 3}},
            r"preprocessing\.transforms\.1 Identityd → CenterSpatialCropd; .*roi_size None → \[16, 16, 16\]",
        ),
        (
            {"augmentation#transforms#1#prob": 0.6, "augmentation#transforms#0#rotate_range": [0.2] * 3},
            r": augmentation\.transforms\.0\..*\.rotate_range \[0\.1, 0\.1, 0\.1\] → \[0\.2, 0\.2, 0\.2\]; "
            r"augmentation\.transforms\.1\.prob 0\.5 → 0\.6\. Resume",
        ),
        ({"max_epochs": 3}, r"has completed 4; resume with max_epochs of at least 4, not 3"),
    ],
)
def test_other_schedule_is_refused(change: dict, message: str, study: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        workflow("train", resume=str(trained / "logs" / "last.pt"), **options(study, tmp_path) | change).run()
    assert re.search(message, str(reason_of(error.value)))


def test_other_data_are_refused_unless_accepted(
    study: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    shutil.copytree(study, other)
    for number, image in enumerate(sorted((other / "images").iterdir())):
        (other / "labels" / image.name).rename(other / "labels" / f"{number}.nii.gz")
        image.rename(image.with_name(f"{number}.nii.gz"))
    choices = {"resume": str(trained / "logs" / "last.pt")} | options(other, tmp_path)
    with pytest.raises(RuntimeError) as error:
        workflow("train", **choices).run()
    changed = f"(old → new): trained_on 4 subjects of {study.name} → 4 subjects of other"
    message = str(reason_of(error.value))
    assert changed in message
    assert re.search(
        r"; training_data 4 named \w+ → 4 named \w+; validation_data 2 named \w+ → 2 named \w+\. Resume", message
    )
    assert not (tmp_path / "model.json").exists()
    workflow("train", accept_changes=True, **choices).run()
    assert f"The training continues with other settings {changed}; training_data" in caplog.text
    assert read_info(tmp_path / "model.pt").trained_on == "4 subjects of other"


def test_the_same_data_elsewhere_and_another_device_change_nothing(
    study: Path, trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The training of the fixture is over, so nothing but the check of its settings happens."""
    shutil.copytree(study, tmp_path / "moved" / study.name)
    choices = options(tmp_path / "moved" / study.name, tmp_path)
    choices |= {"spacing": 2, "augmentation#transforms#0#device": "meta", "cache_dir": str(tmp_path / "alignments")}
    resumed = workflow("train", resume=str(trained / "logs" / "last.pt"), **choices)
    resumed.run()
    assert resumed.trainer.state.epoch == 4
    assert "other settings" not in caplog.text


def test_data_are_told_apart_by_names_and_order() -> None:
    subjects = [{"image": f"/data/images/{name}.nii", "label": f"/data/labels/{name}.nii"} for name in "abc"]
    moved = [{key: path.replace("/data", "/mnt/elsewhere") for key, path in subject.items()} for subject in subjects]
    assert data_names(moved) == data_names(subjects)
    assert data_names([subject | {"id": "x"} for subject in subjects]) == data_names(subjects)
    others = [subjects[:2], subjects[::-1], [{"image": subject["image"]} for subject in subjects], []]
    assert [names.split()[0] for names in map(data_names, others)] == ["2", "3", "3", "0"]
    assert len({data_names(subjects), *map(data_names, others)}) == 5


def test_a_training_that_is_done_can_be_extended(study: Path, trained: Path, tmp_path: Path) -> None:
    extended = workflow(
        "train", resume=str(trained / "logs" / "last.pt"), **options(study, tmp_path) | {"max_epochs": 6}
    )
    rates: list[float] = []
    optimizer = extended.parser.get_parsed_content("optimizer")
    extended.trainer.add_event_handler(
        Events.EPOCH_STARTED, lambda engine: rates.append(optimizer.param_groups[0]["lr"])
    )
    extended.run()
    assert extended.trainer.state.epoch == 6
    # The learning rate of a training of six epochs, from the fifth epoch.
    assert rates == pytest.approx([0.001 * (1 - epoch / 6) ** 0.9 for epoch in (4, 5)])
    ends = [torch.load(folder / "logs" / "last.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert ends[1]["epoch"] == 6
    assert any(not torch.equal(value, ends[1]["network"][name]) for name, value in ends[0]["network"].items())


def test_a_resumed_training_keeps_its_number_of_epochs(study: Path, trained: Path, tmp_path: Path) -> None:
    state = str(trained / "logs" / "last.pt")
    assert epochs_to_train(state, tmp_path, 300) == epochs_to_train(True, trained / "logs", 300) == 4
    assert epochs_to_train(False, trained / "logs", 300) == 300
    with pytest.raises(InputError, match=r"last\.pt: no such checkpoint file"):
        epochs_to_train(True, tmp_path, 300)
    choices = {key: value for key, value in options(study, tmp_path).items() if key != "max_epochs"}
    resumed = workflow("train", resume=state, **choices)
    assert resumed.trainer.state.max_epochs == 4


def test_weights_say_how_to_use_them(study: Path, trained: Path, tmp_path: Path) -> None:
    info = read_info(trained / "model.pt")
    assert info.network == describe(SACBNet(base_channels=2, scaled_matching=True, integration_steps=5))
    assert (info.spacing_mm, info.modality) == (2.0, "mr")
    assert info.trained_on == f"4 subjects of {study.name}"
    sizes = [body_of(read_image(path)).size for path in (study / "images").iterdir()]
    assert info.body_mm == pytest.approx(np.percentile(sizes, (5, 95)), rel=0.05)
    images = [study / "images" / f"{role}_0.nii.gz" for role in ("fixed", "moving")]
    result = Registrar(trained / "model.pt", device="cpu", initial="none")(*images)
    assert result.warped.shape == (32, 32, 32)


def test_an_earlier_training_is_not_replaced(study: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "earlier")
    before = (tmp_path / "earlier" / "model.pt").read_bytes()
    for places in (
        {"ckpt_dir": str(tmp_path / "earlier"), "output_dir": str(tmp_path / "new")},
        {"ckpt_dir": str(tmp_path / "new"), "output_dir": str(tmp_path / "earlier" / "logs")},
    ):
        with pytest.raises(RuntimeError) as error:
            workflow("train", **options(study, tmp_path) | places).run()
        assert "belongs to an earlier training; continue it with --resume" in str(reason_of(error.value))
    assert (tmp_path / "earlier" / "model.pt").read_bytes() == before
    for resume in (False, str(trained / "logs" / "last.pt")):
        with pytest.raises(RuntimeError) as error:
            workflow("train", **options(study, tmp_path) | {"ckpt_dir": str(ROOT / "models"), "resume": resume}).run()
        assert "these weights ship with the bundle" in str(reason_of(error.value))


def test_other_settings_than_those_of_the_weights_are_refused(study: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        workflow("train", resume=str(trained / "logs" / "last.pt"), modality="ct", **options(study, tmp_path)).run()
    assert str(reason_of(error.value)).endswith(
        "its training has other settings (old → new): modality mr → ct; preprocessing.transforms.0.settings.modality "
        "auto → ct; preprocessing.transforms.2.modality auto → ct. Resume with the original settings and data, or "
        "accept the new ones with accept_changes."
    )
    assert not (tmp_path / "model.json").exists()


def test_training_on_pairs(study: Path, tmp_path: Path) -> None:
    """Train on given pairs, such as follow-up scans, each on its own grid."""
    rows = ["fixed,moving,fixed_labels,moving_labels"]
    for number in range(3):
        shift = np.eye(4) * [2, 2, 2, 1]
        shift[:3, 3] = 5 * number
        for role in ("fixed", "moving"):
            for kind in ("images", "labels"):
                voxels = np.asarray(nib.load(study / kind / f"{role}_{number}.nii.gz").dataobj)
                write(tmp_path / f"{role}_{number}_{kind}.nii.gz", voxels[: 32 - number], shift)
        names = [f"{role}_{number}_{kind}.nii.gz" for kind in ("images", "labels") for role in ("fixed", "moving")]
        rows.append(",".join(names))
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    choices = options(study, tmp_path) | {"dataset_dir": "nowhere", "data_list": str(tmp_path / "pairs.csv")}
    training = workflow(
        "train", **choices | {"max_epochs": 1, "initial": "none", "mirror": True, "pairs_per_epoch": None}
    )
    training.run()
    assert training.trainer.state.iteration == 6
    assert 0 < training.evaluator.state.metrics["val_mean_dice"] <= 1
    assert read_info(tmp_path / "model.pt").trained_on == "3 pairs of pairs.csv"


@pytest.mark.parametrize("spacing", [2.0, 3.0])
def test_pairs_come_to_the_spacing_that_is_recorded(spacing: float, study: Path, tmp_path: Path) -> None:
    """A phantom of 2 mm with a body of 64 mm would get a finer grid by the spacing "auto"."""
    pairs = [{role: str(study / "images" / f"{role}_{number}.nii.gz") for role in ("fixed", "moving")}
             for number in range(2)]  # fmt: skip
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    choices = {"dataset_dir": "nowhere", "data_list": str(tmp_path / "pairs.json"), "output_dir": str(tmp_path)}
    made = workflow("train", spacing=spacing, initial="none", **choices)
    prepared = made.parser.get_parsed_content("read_pair")(pairs[0])["prepared"]
    assert prepared.grid.spacing == pytest.approx((spacing,) * 3)
    assert made.parser.get_parsed_content("info").spacing_mm == spacing


@pytest.mark.parametrize("spacing", [0, -1, 1000, float("nan"), "auto", "fine"])
@pytest.mark.parametrize("of_pairs", [False, True])
def test_a_wrong_spacing_is_refused(spacing: object, of_pairs: bool, study: Path, tmp_path: Path) -> None:
    choices: dict = options(study, tmp_path)
    if of_pairs:
        pair = {role: str(study / "images" / f"{role}_0.nii.gz") for role in ("fixed", "moving")}
        (tmp_path / "pairs.json").write_text(json.dumps([pair]))
        choices |= {"dataset_dir": "nowhere", "data_list": str(tmp_path / "pairs.json")}
    with pytest.raises(RuntimeError) as error:
        workflow("train", spacing=spacing, **choices).run()
    assert str(reason_of(error.value)) == f"spacing is {spacing!r}; it must be a number of mm from 0.01 to 100."
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"last\.pt: no such checkpoint file"),
        ({"network": {}}, "not a training state; it has no best"),
        ("other network", "not a checkpoint of this network"),
    ],
)
def test_unfit_state_is_refused(content, message: str, study: Path, trained: Path, tmp_path: Path) -> None:
    if content == "other network":
        content = torch.load(trained / "logs" / "last.pt", weights_only=True)
        content["network"]["extra"] = torch.zeros(1)
    (tmp_path / "logs").mkdir()
    if content is not None:
        torch.save(content, tmp_path / "logs" / "last.pt")
    with pytest.raises(RuntimeError) as error:
        workflow("train", resume=True, **options(study, tmp_path)).run()
    assert re.search(message, str(reason_of(error.value)))
