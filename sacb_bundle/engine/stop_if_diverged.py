"""Stop training that diverges."""

from __future__ import annotations

import math
from typing import Any

from ignite.engine import Engine, Events

from ..errors import InputError


class StopIfDiverged:
    """Stop training as soon as the loss is not finite, before the weights are saved as a result."""

    def attach(self, trainer: Engine) -> None:
        """Check after each iteration.

        Args:
            trainer: MONAI trainer.
        """
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.check)

    def check(self, trainer: Engine) -> None:
        """Check the loss of the iteration.

        Args:
            trainer: MONAI trainer, with the loss in its output.

        Raises:
            InputError: if it is NaN or infinite.
        """
        output: Any = trainer.state.output
        if not math.isfinite(output[0]["loss"]):
            raise InputError(
                f"The loss is {float(output[0]['loss'])} in epoch {trainer.state.epoch}: the training diverged. "
                "Lower learning_rate, and resume from the last epoch or start again."
            )
