"""Gradients of a step are limited before the optimiser uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents

from sacb_bundle.engine import ClipGradients
from tests.engine.workflows import workflow


def norms(study: Path, folder: Path, **changes: Any) -> tuple[list[float], dict[str, Any]]:
    """Train for three steps; return the norms of the gradients that the optimiser got, and the settings."""
    numbers = {"max_epochs": 1, "pairs_per_epoch": 3}
    made = workflow("train", dataset_dir=str(study), output_dir=str(folder), **numbers, **changes)
    seen: list[float] = []

    def note(trainer: SupervisedTrainer) -> None:
        gradients = [parameter.grad for parameter in trainer.network.parameters()]
        seen.append(torch.cat([gradient.flatten() for gradient in gradients if gradient is not None]).norm().item())

    made.trainer.add_event_handler(IterationEvents.MODEL_COMPLETED, note)
    made.run()
    return seen, torch.load(folder / "last.pt", weights_only=True)["settings"]


def test_larger_gradients_are_scaled_down(study: Path, tmp_path: Path) -> None:
    free, settings = norms(study, tmp_path / "free")
    assert "max_gradient_norm" not in settings
    limit = 0.9 * min(free)
    limited, settings = norms(study, tmp_path / "limited", max_gradient_norm=limit)
    assert limited[0] == pytest.approx(limit, rel=1e-4)
    assert max(limited) <= limit * 1.0001
    assert settings["max_gradient_norm"] == limit
    # A limit that no step reaches changes nothing.
    assert norms(study, tmp_path / "wide", max_gradient_norm=10 * max(free))[0] == free


def test_the_norm_is_that_without_the_scale_of_mixed_precision() -> None:
    network = torch.nn.Linear(4, 1)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(2, 4), "label": torch.zeros(2, 1)}],
        network=network,
        loss_function=lambda predicted, label: 100 * (predicted - label - 1).abs().mean(),
        optimizer=torch.optim.SGD(network.parameters(), lr=1.0),
        train_handlers=[ClipGradients(network.parameters(), 0.5)],
        amp=True,
    )
    trainer.scaler = torch.amp.GradScaler("cpu")  # MONAI's scales nothing without a GPU
    before = network.weight.detach().clone(), network.bias.detach().clone()
    trainer.run()
    moved = [new.detach() - old for new, old in zip((network.weight, network.bias), before, strict=True)]
    assert torch.cat([step.flatten() for step in moved]).norm().item() == pytest.approx(0.5, rel=1e-3)
