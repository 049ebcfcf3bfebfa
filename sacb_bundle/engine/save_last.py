"""Save the last weights."""

from __future__ import annotations

import logging
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from ..networks import WeightsInfo, write_info
from ..networks.checkpoint import write_whole

logger = logging.getLogger(__name__)


class SaveLast:
    """Saves the network's weights at the end of a training that no validation judges.

    Args:
        path: path of the weights, a plain state dict, beside which a JSON file says how to use them.
        network: network to save.
        info: how to use the weights.
    """

    def __init__(self, path: str | Path, network: nn.Module, info: WeightsInfo) -> None:
        self.path = Path(path)
        self.network = network
        self.info = info

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
        write_info(self.info, self.path)
        logger.info("Saved the weights as %s.", self.path)
