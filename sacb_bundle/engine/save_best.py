"""Keeping of the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from ..networks.checkpoint import write_whole


class SaveBest:
    """Saves the network's weights whenever a validation is the best so far by the evaluator's key metric.

    Args:
        path: of the file, a plain state dict; it appears whole or not at all.
        network: to save.
    """

    def __init__(self, path: str | Path, network: nn.Module) -> None:
        self.path = Path(path)
        self.network = network

    def attach(self, evaluator: Engine) -> None:
        """Look after each validation."""
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_if_best)

    def save_if_best(self, evaluator: Engine) -> None:
        """Save if the validation that just ended is the best."""
        state: Any = evaluator.state
        if state.best_metric_epoch == state.epoch:
            write_whole(self.network.state_dict(), self.path)
            evaluator.logger.info("Saved the best weights so far as %s.", self.path)
