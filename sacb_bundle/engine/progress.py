"""Show the progress of training on the terminal."""

from __future__ import annotations

from typing import Any

from ignite.engine import Engine
from ignite.handlers import ProgressBar


class TrainingProgress:
    """Progress bar for each epoch, with the loss of the last iteration."""

    def attach(self, trainer: Engine) -> None:
        """Show the bar while a trainer runs.

        Args:
            trainer: MONAI trainer.
        """
        ProgressBar(persist=True).attach(trainer, output_transform=_loss_of)


def _loss_of(output: list[dict[str, Any]]) -> dict[str, float]:
    """Return the loss in the output of a MONAI trainer."""
    return {"loss": float(output[0]["loss"])}
