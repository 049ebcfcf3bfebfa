"""Save the last weights."""

from __future__ import annotations

import logging
from pathlib import Path

from ignite.engine import Engine, Events
from torch import nn

from ..networks import WeightsInfo, write_weights

logger = logging.getLogger(__name__)


class SaveLast:
    """Save the network's weights at the end of training without validation.

    Args:
        path: path of the weights, a plain state dict; a JSON file beside it holds their info.
        network: network to save.
        info: description of the weights.
    """

    def __init__(self, path: str | Path, network: nn.Module, info: WeightsInfo) -> None:
        self.path = Path(path)
        self.network = network
        self.info = info

    def attach(self, trainer: Engine) -> None:
        """Warn that no epoch is validated, and save at the end of training.

        Args:
            trainer: engine that trains.
        """
        logger.warning(
            "No epoch is validated (fewer than two validation subjects, or val_interval above max_epochs), so the "
            "weights of the last epoch are saved."
        )
        trainer.add_event_handler(Events.COMPLETED, self.save)

    def save(self) -> None:
        """Save the weights and their info.

        Raises:
            InputError: if a file cannot be written.
        """
        state = {name: value.cpu() for name, value in self.network.state_dict().items()}
        write_weights(state, self.info, self.path)
        logger.info("Saved the weights to %s.", self.path)
