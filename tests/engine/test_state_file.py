"""A training state is restored only if it is valid and belongs to this run."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from sacb_bundle.engine import SaveBest, TrainingState, epochs_to_train
from sacb_bundle.errors import InputError
from sacb_bundle.networks import WeightsInfo

EPOCHS, DONE = 4, 2
SETTINGS = {"seed": 0, "batch_size": 1, "loss": ["Loss", {"window": 9, "similarity": ["NCC", {"a": 1}]}]}


def training(path: Path, resume: bool, total: int = EPOCHS, **options: Any) -> tuple[TrainingState, Engine]:
    """Make a training run of a small network, which did two steps unless it is resumed."""
    torch.manual_seed(3)
    network = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=total, power=0.9)
    best = SaveBest(path.with_name("model.pt"), network, WeightsInfo())
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "lr_scheduler": scheduler, "best": best}
    state = TrainingState(path, resume, parts, **{"info": WeightsInfo(), "settings": SETTINGS, **options})
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch_length, engine.state.max_epochs, engine.state.epoch = 1, total, 0 if resume else DONE
    for _ in range(0 if resume else DONE):
        network(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        scheduler.step()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    best.best = {} if resume else {"metric": "dice", "value": 0.5, "epoch": 1, "weights": weights}
    return state, engine


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    state, engine = training(tmp_path / "last.pt", resume=False)
    state.save(engine)
    return tmp_path / "last.pt"


def test_a_state_is_restored(saved: Path) -> None:
    before = torch.load(saved, weights_only=True)
    state, engine = training(saved, resume=True)
    state.restore(engine)
    assert engine.state.epoch == DONE
    state.save(engine)
    after = torch.load(saved, weights_only=True)
    for name in ("epoch", "settings", "lr_scheduler"):
        assert before[name] == after[name]
    moments = [content["optimizer"]["state"][0]["exp_avg"] for content in (before, after)]
    assert torch.equal(*moments)
    assert torch.equal(before["best"]["weights"]["bias"], after["best"]["weights"]["bias"])


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    """Yield the path to each value in nested dictionaries and lists."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from places(value[key], (*above, key))


# Values that training replaces if they are missing, or that may hold any text.
NOT_READ = ("foreach", "fused", "maximize", "params", "metric")
DAMAGE = ("x", None, [1], {"a": 1}, True, -1, 10**30, float("nan"), torch.ones(3), torch.ones(1) * 1j)


def resumed(path: Path) -> str:
    """Resume training, and return the error."""
    try:
        state, engine = training(path, resume=True)
        state.restore(engine)
    except InputError as error:
        return str(error)
    return ""


def test_every_damaged_value_is_one_error(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    for place, value in product(list(places(state)), DAMAGE):
        content = copy.deepcopy(state)
        holder = content
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        torch.save(content, saved)
        error = resumed(saved)
        assert "\n" not in error
        assert error.startswith(f"{saved}: ") if error else value != "x" or place[-1] in NOT_READ


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch", -1, "epoch is -1"),
        ("epoch", True, "epoch is True"),
        ("epoch", EPOCHS + 1, f"epoch is {EPOCHS + 1}"),
        ("epoch", 10**30, "epoch is 1000"),
        ("optimizer", [], "optimizer is a list"),
        ("best", {"metric": "dice", "value": 0.5, "epoch": 3, "weights": {}}, "best is not the best of its epochs"),
        ("best", {"metric": "dice", "value": float("nan"), "epoch": 1, "weights": {}}, "best is not the best"),
        ("best", {"metric": "dice", "value": 0.5, "epoch": 1, "weights": {"x": torch.ones(1)}}, "unknown keys: x"),
    ],
)
def test_values_out_of_range(name: str, value: Any, message: str, saved: Path) -> None:
    torch.save(torch.load(saved, weights_only=True) | {name: value}, saved)
    with pytest.raises(InputError, match=message):
        training(saved, resume=True)
    assert not saved.with_name("model.pt").exists()


@pytest.mark.parametrize("total", [True, -1, "4", 10**30, 1.5])
def test_a_number_of_epochs_that_is_none(total: Any, saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    state["lr_scheduler"]["total_iters"] = total
    torch.save(state, saved)
    with pytest.raises(InputError, match=f"total_iters is {total!r}"):
        epochs_to_train(True, saved.parent, 300)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"settings": SETTINGS | {"seed": 1}}, "seed 0 → 1"),
        ({"settings": SETTINGS | {"batch_size": 2, "seed": 5}}, "batch_size 1 → 2; seed 0 → 5"),
        ({"settings": SETTINGS | {"loss": ["Loss", {"window": 7, "similarity": ["MSE", {}]}]}},
         "loss.similarity NCC → MSE; loss.similarity.a 1 → None; loss.window 9 → 7"),
        ({"info": WeightsInfo(network={"name": "SACBNet", "num_clusters": 5})}, "network.num_clusters None → 5"),
        ({"info": WeightsInfo(spacing_mm=1.0, modality="ct")}, "modality mr → ct; spacing_mm 2.0 → 1.0"),
    ],
)  # fmt: skip
def test_other_settings_are_refused_unless_accepted(
    options: dict, changes: str, saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError) as error:
        training(saved, resume=True, **options)
    assert f"has other settings (old → new): {changes}. Resume with" in str(error.value)
    with caplog.at_level(logging.WARNING):
        state, engine = training(saved, resume=True, accept_changes=True, **options)
    assert f"continues with other settings (old → new): {changes}." in caplog.text
    state.restore(engine)
    assert engine.state.epoch == DONE
