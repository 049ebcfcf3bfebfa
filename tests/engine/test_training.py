from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sacb_bundle.networks import SACBNet, load_checkpoint
from tests.engine.workflows import reason_of, workflow


def options(study: Path, folder: Path) -> dict:
    return {
        "dataset_dir": str(study),
        "ckpt_dir": str(folder),
        "output_dir": str(folder / "logs"),
        "max_epochs": 4,
        "pairs_per_epoch": 3,
        "learning_rate": 0.001,
    }


def logged(folder: Path) -> dict[str, int]:
    """Number of values of each TensorBoard tag."""
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
    load_checkpoint(SACBNet(base_channels=2), trained / "model.pt")
    state = torch.load(trained / "last.pt", weights_only=True)
    assert state["epoch"] == 4
    assert 0 < state["best_metric"] <= 1
    assert 1 <= state["best_metric_epoch"] <= 4


@pytest.mark.parametrize("resume_by_path", [False, True])
def test_a_continued_training_ends_with_the_same_bytes(
    resume_by_path: bool, study: Path, trained: Path, tmp_path: Path
) -> None:
    interrupted = workflow("train", **options(study, tmp_path))
    interrupted.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    interrupted.run()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["epoch"] == 2
    torch.rand(5)

    resume: bool | str = True
    if resume_by_path:
        resume = str(shutil.move(tmp_path / "last.pt", tmp_path / "elsewhere.pt"))
    continued = workflow("train", resume=resume, **options(study, tmp_path))
    continued.run()
    assert continued.trainer.state.epoch == 4
    ends = [torch.load(folder / "last.pt", weights_only=True) for folder in (trained, tmp_path)]
    for key in ("best_metric", "best_metric_epoch", "lr_scheduler"):
        assert ends[0][key] == ends[1][key]
    for name, value in ends[0]["network"].items():
        assert torch.equal(value, ends[1]["network"][name]), name
    for index, moments in ends[0]["optimizer"]["state"].items():
        assert torch.equal(moments["exp_avg"], ends[1]["optimizer"]["state"][index]["exp_avg"])
    best = [torch.load(folder / "model.pt", weights_only=True) for folder in (trained, tmp_path)]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


def test_without_labels_the_loss_decides(study: Path, tmp_path: Path) -> None:
    shutil.copytree(study / "images", tmp_path / "study" / "images")
    training = workflow("train", **options(tmp_path / "study", tmp_path) | {"max_epochs": 2, "mirror": True})
    training.run()
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["best_metric"] == min(training.evaluator.state.metrics["val_loss"], state["best_metric"]) < 0
    assert (tmp_path / "model.pt").is_file()
    assert "val_loss" in logged(tmp_path / "logs")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"last\.pt: no such checkpoint file"),
        ({"network": {}}, "not the state of a training; it has no best_metric"),
        ("other network", "not a checkpoint of this network"),
    ],
)
def test_unfit_state_is_refused(content, message: str, study: Path, trained: Path, tmp_path: Path) -> None:
    if content == "other network":
        content = torch.load(trained / "last.pt", weights_only=True)
        content["network"]["extra"] = torch.zeros(1)
    if content is not None:
        torch.save(content, tmp_path / "last.pt")
    with pytest.raises(RuntimeError) as error:
        workflow("train", resume=True, **options(study, tmp_path)).run()
    assert re.search(message, str(reason_of(error.value)))
