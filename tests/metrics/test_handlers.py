from typing import Any

import ignite.distributed as idist
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.handlers import from_engine

from sacb_bundle.metrics.handlers import Folding, MeanDice

from .label_maps import SHAPE, voxels

A, B = (0, 0, 0), (0, 0, 1)
FLAT = torch.zeros(3, *SHAPE)


def _reflection(height: int) -> torch.Tensor:
    """Return a field on the test grid that folds the voxels below `height` on the first axis."""
    field = torch.zeros(3, *SHAPE)
    field[1, :height] = -2.0 * torch.arange(SHAPE[1])[:, None]
    return field


def _item(warped: np.ndarray, fixed: np.ndarray) -> dict[str, torch.Tensor]:
    return {"warped_labels": MetaTensor(warped[None]).float(), "fixed_labels": MetaTensor(fixed[None]).float()}


def _run(metric: Metric, batches: list[list[dict[str, Any]]]) -> float:
    engine = Engine(lambda _, batch: batch)
    metric.attach(engine, "score")
    return engine.run(batches).metrics["score"]


PERFECT = _item(voxels(A), voxels(A))
TWO_THIRDS = _item(voxels(A, B), voxels(A))
APART = _item(voxels(A), voxels(B))
WITHOUT_LABELS = _item(voxels(A, label=9), voxels(A))


def _mean_dice() -> MeanDice:
    return MeanDice((1, 2), from_engine(["warped_labels", "fixed_labels"]))


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        pytest.param([[PERFECT]], 1, id="one pair"),
        pytest.param([[PERFECT, APART]], 1 / 2, id="one batch of two"),
        pytest.param([[PERFECT], [APART, TWO_THIRDS]], 5 / 9, id="batches of one and two"),
        pytest.param([[PERFECT, WITHOUT_LABELS], [WITHOUT_LABELS]], 1, id="pairs without labels do not count"),
    ],
)
def test_mean_dice_over_pairs(batches: list[list[dict[str, torch.Tensor]]], expected: float) -> None:
    assert _run(_mean_dice(), batches) == pytest.approx(expected)


def test_mean_dice_averages_the_labels_of_a_pair_first() -> None:
    two_labels = _item(voxels(A) + voxels(B, label=2), voxels(A) + voxels((5, 5, 5), label=2))
    assert _run(_mean_dice(), [[two_labels, PERFECT]]) == pytest.approx((1 / 2 + 1) / 2)


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        ([[FLAT]], 0),
        ([[FLAT, _reflection(SHAPE[0])]], 50),
        ([[FLAT], [FLAT, _reflection(7)]], 50 / 3),
    ],
    ids=["flat", "one batch of two", "batches of one and two"],
)
def test_folding_over_pairs(batches: list[list[torch.Tensor]], expected: float) -> None:
    items = [[{"pred": field} for field in batch] for batch in batches]
    assert _run(Folding(from_engine("pred")), items) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "batches"),
    [
        (_mean_dice(), [[WITHOUT_LABELS]]),
        (Folding(from_engine("pred")), []),
    ],
    ids=["no label", "no pair"],
)
def test_nothing_to_score_is_an_error(metric: Metric, batches: list[Any]) -> None:
    metric.reset()
    for batch in batches:
        metric.update(from_engine(["warped_labels", "fixed_labels"])(batch))
    with pytest.raises(NotComputableError, match=type(metric).__name__):
        metric.compute()


def test_each_epoch_starts_anew() -> None:
    metric = Folding(from_engine("pred"))
    assert _run(metric, [[{"pred": _reflection(SHAPE[0])}]]) == 100
    assert _run(metric, [[{"pred": FLAT}]]) == 0


def test_warped_and_fixed_lists_must_pair_up() -> None:
    with pytest.raises(ValueError, match="shorter"):
        _mean_dice().update(([PERFECT["warped_labels"]], []))


def test_sums_and_counts_are_reduced_over_the_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = Folding(from_engine("pred"))
    metric.update([_reflection(SHAPE[0])])
    others = iter((20.0, 3))  # sum and count of the other process
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    monkeypatch.setattr(idist, "all_reduce", lambda value: value + next(others))
    assert metric.compute() == pytest.approx((100 + 20) / (1 + 3))


def test_in_a_monai_evaluator_from_a_config() -> None:
    parser = ConfigParser(
        {
            "dice": {
                "_target_": "sacb_bundle.metrics.handlers.MeanDice",
                "labels": [1, 2],
                "output_transform": "$monai.handlers.from_engine(['warped_labels', 'fixed_labels'])",
            },
            "folding": {
                "_target_": "sacb_bundle.metrics.handlers.Folding",
                "output_transform": "$monai.handlers.from_engine('pred')",
            },
        }
    )

    def iteration(engine: SupervisedEvaluator, batch: dict[str, torch.Tensor]) -> Any:
        engine.state.output = dict(batch)
        engine.fire_event(IterationEvents.MODEL_COMPLETED)  # MONAI decollates the output on this event
        return engine.state.output

    pairs = [{**PERFECT, "pred": FLAT}, {**APART, "pred": _reflection(SHAPE[0])}]
    batch = {key: torch.stack([pair[key].as_subclass(torch.Tensor) for pair in pairs]) for key in pairs[0]}
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=[batch],
        network=torch.nn.Identity(),
        iteration_update=iteration,
        key_val_metric={"dice": parser.get_parsed_content("dice")},
        additional_metrics={"folding": parser.get_parsed_content("folding")},
    )
    evaluator.run()
    assert evaluator.state.metrics == pytest.approx({"dice": 0.5, "folding": 50})
