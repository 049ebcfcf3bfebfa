"""Save the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from ..errors import InputError
from ..networks import WeightsInfo, write_info
from ..networks.checkpoint import write_whole


class SaveBest:
    """Saves the network's weights whenever a validation is the best so far by the evaluator's key metric.

    Args:
        path: path of the weights, a plain state dict, beside which a JSON file says how to use them.
        network: network to save.
        info: how to use the weights.
        writes: whether this process writes the file; of several that train together, one does.
    """

    def __init__(self, path: str | Path, network: nn.Module, info: WeightsInfo, writes: bool = True) -> None:
        self.path = Path(path)
        self.network = network
        self.info = info
        self.writes = writes
        self.best: dict[str, Any] = {}

    def attach(self, evaluator: Engine) -> None:
        """Look after each validation; before the first, tell the evaluator of an earlier best."""
        evaluator.add_event_handler(Events.STARTED, self.restore)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_if_best)

    def restore(self, evaluator: Engine) -> None:
        """Let the evaluator compare with the best of the training that is continued.

        Raises:
            InputError: if that best was by another metric.
        """
        state: Any = evaluator.state
        if not self.best or state.best_metric_epoch != -1:
            return
        if self.best["metric"] != state.key_metric_name:
            raise InputError(
                f"resume: the training to continue was judged by {self.best['metric']}, this one is by "
                f"{state.key_metric_name}; do the validation subjects still have the same labels?"
            )
        state.best_metric, state.best_metric_epoch = self.best["value"], self.best["epoch"]

    def save_if_best(self, evaluator: Engine) -> None:
        """Save if the validation that just ended is the best."""
        state: Any = evaluator.state
        if state.best_metric_epoch == state.epoch:
            self.best = {
                "metric": state.key_metric_name,
                "value": float(state.best_metric),
                "epoch": int(state.epoch),
                "weights": {name: value.cpu().clone() for name, value in self.network.state_dict().items()},
            }
            if self.writes:
                self.write()
                evaluator.logger.info("Saved the best weights so far as %s.", self.path)

    def state_dict(self) -> dict[str, Any]:
        """The best so far; empty before the first validation."""
        return self.best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the best of another run, and write its weights."""
        self.best = state
        if state and self.writes:
            self.write()

    def write(self) -> None:
        """Write the best weights, and how to use them."""
        write_whole(self.best["weights"], self.path)
        write_info(self.info, self.path)
