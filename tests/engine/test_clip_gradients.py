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


@pytest.mark.parametrize(
    "options", [{}, {"accumulation_steps": 4}, {"amp": True}, {"amp": True, "accumulation_steps": 2}]
)
def test_what_counts_is_the_gradient_of_the_step(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum of accumulated gradients, without the scale of mixed precision."""
    # MONAI's scaler scales nothing without a GPU.
    monkeypatch.setattr(torch.cuda.amp, "GradScaler", lambda: torch.amp.GradScaler("cpu"))
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    # The gradient of the loss is the image; the mean of the large one and the small ones is above the limit.
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=1,
        train_data_loader=[
            {"image": torch.tensor([[value]]), "label": torch.zeros(1)} for value in (8.0, -1.0, -1.0, -1.0)
        ],
        network=network,
        loss_function=lambda predicted, label: predicted.float().mean(),
        optimizer=optimizer,
        train_handlers=[ClipGradients(optimizer, 0.5)],
        **options,
    )
    trainer.run()
    steps = {1: [-0.5, 0.5, 0.5, 0.5], 2: [-0.5, 0.5], 4: [-0.5]}[options.get("accumulation_steps", 1)]
    assert network.weight.item() == pytest.approx(sum(steps), abs=1e-3)
