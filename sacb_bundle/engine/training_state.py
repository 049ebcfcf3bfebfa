"""Stopping and continuing of a training."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import nn

from ..errors import InputError
from ..networks.checkpoint import check_keys, read_weights, write_whole

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """An object whose state can be saved and restored."""

    def state_dict(self) -> dict: ...  # noqa: D102

    def load_state_dict(self, state_dict: dict) -> object: ...  # noqa: D102


class TrainingState:
    """Saves everything a training needs to continue after each epoch, and restores it at the start if asked to.

    Saved are network, optimiser, learning-rate schedule, epoch, best validation metric, and the random states of
    torch, CUDA, numpy and Python. The file appears whole or not at all.

    Args:
        path: of the file that is written after each epoch.
        resume: False to start anew, True to continue from `path`, or the path of another such file.
        network: to train.
        evaluator: whose best metric decides which weights are kept.
        optimizer: of the network's parameters.
        lr_scheduler: of the optimiser.

    Raises:
        InputError: if the file to continue from is missing or of another training.
    """

    def __init__(
        self,
        path: str | Path,
        resume: bool | str,
        network: nn.Module,
        evaluator: Engine,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        self.path = Path(path)
        self.evaluator = evaluator
        self.parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "lr_scheduler": lr_scheduler}
        self.start = self.read(self.path if resume is True else Path(str(resume))) if resume else None

    def read(self, path: Path) -> dict[str, Any]:
        """Read the state to continue from, and check that it fits."""
        state = read_weights(path)
        missing = {*self.parts, "epoch", "best_metric", "best_metric_epoch", "random_state"} - state.keys()
        if missing:
            raise InputError(f"{path}: not the state of a training; it has no {', '.join(sorted(missing))}.")
        check_keys(state["network"], self.parts["network"].state_dict(), path)
        return state

    def attach(self, engine: Engine) -> None:
        """Restore when the engine starts, save when it has completed an epoch."""
        engine.add_event_handler(Events.STARTED, self.restore)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def restore(self, engine: Engine) -> None:
        """Continue from the state that was read, if any."""
        if self.start is None:
            return
        for name, part in self.parts.items():
            part.load_state_dict(self.start[name])
        best: Any = self.evaluator.state
        best.best_metric, best.best_metric_epoch = self.start["best_metric"], self.start["best_metric_epoch"]
        restore_random_state(self.start["random_state"])
        engine.state.epoch = self.start["epoch"]
        engine.state.iteration = self.start["epoch"] * engine.state.epoch_length
        logger.info("Continuing after epoch %d of %d.", engine.state.epoch, engine.state.max_epochs)
        self.start = None

    def save(self, engine: Engine) -> None:
        """Write the state of the completed epoch."""
        best: Any = self.evaluator.state
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {
            "epoch": engine.state.epoch,
            "best_metric": float(best.best_metric),
            "best_metric_epoch": int(best.best_metric_epoch),
            "random_state": random_state(),
        }
        write_whole(state, self.path)


def random_state() -> dict[str, Any]:
    """States of all random generators that training code may use, in types that load without pickle's powers."""
    # The old global generators, too: a transform or sampler that a user adds may draw from them.
    _, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached_gaussian],
        "python": random.getstate(),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Undo what has been drawn since `random_state`."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
    keys, position, has_gauss, cached_gaussian = state["numpy"]
    numpy_state = ("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached_gaussian)
    np.random.set_state(numpy_state)  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
