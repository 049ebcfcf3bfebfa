"""Seed random transforms, so that a resumed run draws the same numbers as an uninterrupted one."""

from __future__ import annotations

from ignite.engine import Engine, Events
from monai.transforms import Randomizable


class SeedEpochs:
    """Seed a random transform at the start of each epoch, from seed, rank and epoch alone.

    Args:
        transform: transform in the training process, not in a worker of its data loader.
        seed: seed of the training.
        rank: rank of this process; processes that train together draw different numbers.
    """

    def __init__(self, transform: Randomizable, seed: int, rank: int = 0) -> None:
        self.transform = transform
        self.seed = seed
        self.rank = rank

    def attach(self, trainer: Engine) -> None:
        """Seed at the start of each epoch.

        Args:
            trainer: engine that trains.
        """
        trainer.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)

    def _start_epoch(self, trainer: Engine) -> None:
        """Seed for the epoch that starts.

        Args:
            trainer: engine that trains, with the number of the epoch in its state.
        """
        # The offsets separate the epochs of neighbouring seeds and ranks.
        self.transform.set_random_state(seed=10_000 * (self.seed + 1_000 * self.rank) + trainer.state.epoch)
