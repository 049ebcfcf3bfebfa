"""Random transforms that draw the same numbers in a continued training as in an undisturbed one."""

from __future__ import annotations

from ignite.engine import Engine, Events
from monai.transforms import Randomizable


class SeedEpochs:
    """Seeds a random transform at the start of each epoch, from seed, rank and epoch alone.

    Args:
        transform: in the process of the training, not in a worker of its data loader.
        seed: of the training.
        rank: of this process among those that train together, each of which draws numbers of its own.
    """

    def __init__(self, transform: Randomizable, seed: int, rank: int = 0) -> None:
        self.transform = transform
        self.seed = seed
        self.rank = rank

    def attach(self, trainer: Engine) -> None:
        """Seed whenever an epoch starts."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)

    def start_epoch(self, trainer: Engine) -> None:
        """Seed for the epoch that starts."""
        # The offsets keep the epochs of neighbouring seeds and ranks apart.
        self.transform.set_random_state(seed=10_000 * (self.seed + 1_000 * self.rank) + trainer.state.epoch)
