"""Save the best weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from torch import nn

from ..errors import InputError
from ..networks import WeightsInfo, write_weights


class SaveBest:
    """Save the network's weights whenever a validation is the best so far by the evaluator's key metric.

    Args:
        path: path of the weights, a plain state dict; a JSON file beside it holds their info.
        network: network to save.
        info: description of the weights.
        writes: whether this process writes the file; one of several that train together does.
    """

    def __init__(self, path: str | Path, network: nn.Module, info: WeightsInfo, writes: bool = True) -> None:
        self.path = Path(path)
        self.network = network
        self.info = info
        self.writes = writes
        self.best: dict[str, Any] = {}

    def attach(self, evaluator: Engine) -> None:
        """Check after each validation; before the first, restore an earlier best.

        Args:
            evaluator: MONAI evaluator with a key metric.
        """
        evaluator.add_event_handler(Events.STARTED, self.restore)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.save_if_best)

    def restore(self, evaluator: Engine) -> None:
        """Give the evaluator the best value of the resumed run.

        Args:
            evaluator: MONAI evaluator with a key metric.

        Raises:
            InputError: if that value belongs to another metric.
        """
        state: Any = evaluator.state
        if not self.best or state.best_metric_epoch != -1:
            return
        if self.best["metric"] != state.key_metric_name:
            raise InputError(
                f"resume: the earlier training was validated by {self.best['metric']}, this one by "
                f"{state.key_metric_name}. Do the validation subjects still have the same labels?"
            )
        state.best_metric, state.best_metric_epoch = self.best["value"], self.best["epoch"]

    def save_if_best(self, evaluator: Engine) -> None:
        """Save if the validation that just ended is the best.

        Args:
            evaluator: MONAI evaluator with a key metric.

        Raises:
            InputError: if a file cannot be written.
        """
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
                evaluator.logger.info("Saved the best weights so far to %s.", self.path)

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far, to be saved with the state of training.

        Returns:
            The "metric" that selected it, its "value", its "epoch" and its "weights", on the CPU; empty before
            the first validation.
        """
        return self.best

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the best of another run, and write its weights.

        Args:
            state: best of the other run, as `state_dict` returned it; empty if it had none.

        Raises:
            InputError: if a file cannot be written.
        """
        self.best = state
        if state and self.writes:
            self.write()

    def write(self) -> None:
        """Write the best weights and their info.

        Raises:
            InputError: if a file cannot be written.
        """
        write_weights(self.best["weights"], self.info, self.path)
