"""Keeping of the last weights."""

from __future__ import annotations

import logging
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from ..networks.checkpoint import write_whole

logger = logging.getLogger(__name__)


class SaveLast:
    """Saves the network's weights at the end of a training that no validation judges.

    Args:
        path: of the file, a plain state dict; it appears whole or not at all.
        network: to save.
    """

    def __init__(self, path: str | Path, network: nn.Module) -> None:
        self.path = Path(path)
        self.network = network

    def attach(self, trainer: Engine) -> None:
        """Save when the training is done."""
        logger.warning(
            "No epoch is validated (fewer than two subjects to validate on, or val_interval above max_epochs): "
            "the weights of the last one are kept."
        )
        trainer.add_event_handler(Events.COMPLETED, self.save)

    def save(self) -> None:
        """Save."""
        write_whole({name: value.cpu() for name, value in self.network.state_dict().items()}, self.path)
        logger.info("Saved the weights as %s.", self.path)
