"""The trainer replays its steps, with the result of MONAI's trainer."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from sacb_bundle.engine import RegistrationInferer, RegistrationTrainer
from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
from sacb_bundle.networks import SACBNet
from sacb_bundle.ops import captured
from tests.engine.workflows import workflow

EVENTS = [IterationEvents[f"{passed}_COMPLETED"] for passed in ("FORWARD", "LOSS", "BACKWARD", "MODEL")]


def trained(kind: type[SupervisedTrainer], **options: Any) -> tuple[SupervisedTrainer, list]:
    """Train for three steps, and return the trainer and what handlers of its events saw."""
    torch.manual_seed(0)
    network, seen = SACBNet(base_channels=2), list[Any]()

    def note(engine: SupervisedTrainer, event: Any) -> None:
        seen.append((event, copy.copy(engine.state.output)))

    trainer = kind(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.rand(1, 2, 17, 16, 32), "label": torch.zeros(1)} for _ in range(3)],
        prepare_batch=lambda batch, *arguments: (batch["image"], batch["image"]),
        network=network,
        loss_function=RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0),
        optimizer=torch.optim.Adam(network.parameters(), lr=0.01),
        inferer=RegistrationInferer(16),
        **options,
    )
    for event in (*EVENTS, Events.ITERATION_COMPLETED):
        trainer.add_event_handler(event, note, event)
    trainer.run()
    return trainer, seen


@pytest.mark.parametrize("options", [{}, {"accumulation_steps": 2}])
def test_it_trains_as_monai_does(options: dict[str, Any]) -> None:
    (ours, seen), (theirs, expected) = (trained(kind, **options) for kind in (RegistrationTrainer, SupervisedTrainer))
    for name, value in theirs.network.state_dict().items():
        assert torch.equal(ours.network.state_dict()[name], value), name
    assert [event for event, _ in seen] == [event for event, _ in expected] == [*EVENTS, Events.ITERATION_COMPLETED] * 3
    for (event, output), (_, same) in zip(seen, expected, strict=True):
        if event in (IterationEvents.MODEL_COMPLETED, Events.ITERATION_COMPLETED):
            output, same = output[0], same[0]
        assert all(torch.equal(torch.as_tensor(output[key]), torch.as_tensor(value)) for key, value in same.items())
        assert "loss" in same or event == IterationEvents.FORWARD_COMPLETED


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("terms", [{}, {"dice_weight": 0.5, "inverse_consistency_weight": 0.5}])
def test_on_a_gpu_a_continued_training_ends_with_the_same_bytes(
    terms: dict[str, float], study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def options(name: str) -> dict[str, Any]:
        folders = {key: str(tmp_path / name) for key in ("ckpt_dir", "output_dir")}
        numbers = {"max_epochs": 4, "pairs_per_epoch": 5, "learning_rate": 0.001}
        return {"dataset_dir": str(study), "device": "cuda", **folders, **numbers, **terms}

    whole = workflow("train", **options("whole"))
    whole.run()
    graphs = whole.trainer._gradients._captured._signatures.values()
    assert [isinstance(graph, int) for graph in graphs] == [False]
    interrupted = workflow("train", **options("parts"))
    interrupted.trainer.add_event_handler(Events.EPOCH_COMPLETED(once=2), lambda engine: engine.terminate())
    interrupted.run()
    workflow("train", resume=True, **options("parts")).run()
    monkeypatch.setattr(captured, "EAGER_CALLS", 1000)
    workflow("train", **options("eager")).run()
    runs = [tmp_path / name / "last.pt" for name in ("whole", "parts", "eager")]
    first, *others = (torch.load(last, weights_only=True) for last in runs)
    for other in others:
        assert first["lr_scheduler"] == other["lr_scheduler"]
        assert first["best"]["value"] == other["best"]["value"]
        assert all(torch.equal(value, other["network"][name]) for name, value in first["network"].items())
        for index, moments in first["optimizer"]["state"].items():
            assert all(torch.equal(value, other["optimizer"]["state"][index][key]) for key, value in moments.items())
    # What a GPU has trained goes on on a CPU, and the other way round.
    for device in ("cpu", "cuda"):
        longer = {"max_epochs": 5 if device == "cpu" else 6, "device": device, "pairs_per_epoch": 1}
        state = workflow("train", resume=str(runs[0]), accept_changes=True, **options("whole") | longer)
        state.run()
        assert torch.load(runs[0], weights_only=True)["epoch"] == longer["max_epochs"]
