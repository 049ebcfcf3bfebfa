from __future__ import annotations

import json
from pathlib import Path

from ignite.engine import Engine, Events

from sacb_bundle.engine import TrainingCost


def test_the_cost_of_a_step_is_written_once_the_training_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    there = []
    trainer = Engine(lambda engine, batch: there.append(path.exists()))
    cost = TrainingCost(path, "cpu")
    cost.attach(trainer)
    trainer.run(range(3), max_epochs=2)
    assert there == [False] * 6
    content = json.loads(path.read_text())
    assert (content["steps"], content["peak_megabytes"]) == (6, None)
    assert content["step_seconds"] == sorted(cost.seconds)[2] / 2 + sorted(cost.seconds)[3] / 2


def test_a_run_without_steps_keeps_the_cost(tmp_path: Path) -> None:
    path = tmp_path / "cost.json"
    path.write_text("{}")
    trainer = Engine(lambda engine, batch: None)
    TrainingCost(path, "cpu").attach(trainer)
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", 1))  # as when resumed
    trainer.run(range(3), max_epochs=1)
    assert path.read_text() == "{}"
