"""Stop, continue and extend a training."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from ..networks.checkpoint import check_keys, read_weights, write_whole

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """An object whose state can be saved and restored."""

    def state_dict(self) -> dict: ...  # noqa: D102

    def load_state_dict(self, state_dict: dict) -> object: ...  # noqa: D102


class TrainingState:
    """Saves everything a training needs to continue after each epoch, and restores it at the start if asked to.

    The state consists of the given parts, the epoch, and the random states of torch, CUDA, numpy and Python. The file
    appears whole or not at all. A training may be continued with more epochs than it began with, also when it is done:
    its learning rate then follows the longer schedule from there on.

    Args:
        path: of the file that is written after each epoch.
        resume: False to start anew, True to continue from `path`, or the path of another such file.
        parts: what to save, by name: "network", "optimizer", "lr_scheduler" and others with a state.
        writes: whether this process writes the file; of several that train together, one does.

    Raises:
        InputError: if the file to continue from is missing, or of another network or schedule.
    """

    def __init__(
        self, path: str | Path, resume: bool | str, parts: Mapping[str, Stateful], writes: bool = True
    ) -> None:
        self.path = Path(path)
        self.writes = writes
        self.parts = parts
        self.start = self.read(self.path if resume is True else Path(str(resume))) if resume else None

    def read(self, path: Path) -> dict[str, Any]:
        """Read the state to continue from, and check that it fits."""
        state = read_weights(path)
        missing = {*self.parts, "epoch", "random_state"} - state.keys()
        if missing:
            raise InputError(f"{path}: not the state of a training; it has no {', '.join(sorted(missing))}.")
        check_keys(state["network"], self.parts["network"].state_dict(), path)
        schedule, saved = self.parts["lr_scheduler"].state_dict(), state["lr_scheduler"]
        for key in {"base_lrs", "power"} & schedule.keys():
            if saved.get(key) != schedule[key]:
                raise InputError(
                    f"{path}: its learning rate follows {key} {saved.get(key)}, that of this run {schedule[key]}. "
                    "Continue with the learning_rate it began with."
                )
        if "total_iters" in schedule and schedule["total_iters"] < max(state["epoch"], saved.get("total_iters", 0)):
            raise InputError(
                f"{path}: this training of {saved.get('total_iters')} epochs has done {state['epoch']}; continue "
                f"it with max_epochs of at least {saved.get('total_iters')}, not {schedule['total_iters']}."
            )
        return state

    def attach(self, engine: Engine) -> None:
        """Restore when the engine starts, save when it has completed an epoch."""
        engine.add_event_handler(Events.STARTED, self.restore)
        if self.writes:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def restore(self, engine: Engine) -> None:
        """Continue from the state that was read, if any."""
        if self.start is None:
            return
        scheduled = self.parts["lr_scheduler"].state_dict().get("total_iters")
        for name, part in self.parts.items():
            part.load_state_dict(self.start[name])
        if scheduled is not None and scheduled != self.start["lr_scheduler"].get("total_iters"):
            self.extend(scheduled)
        restore_random_state(self.start["random_state"])
        engine.state.epoch = self.start["epoch"]
        engine.state.iteration = self.start["epoch"] * engine.state.epoch_length
        logger.info("Continuing after epoch %d of %d.", engine.state.epoch, engine.state.max_epochs)
        self.start = None

    def extend(self, total_epochs: int) -> None:
        """Let the learning rate follow a polynomial schedule of more epochs."""
        scheduler: Any = self.parts["lr_scheduler"]
        scheduler.total_iters = total_epochs
        share_left = 1 - scheduler.last_epoch / total_epochs
        for group, base in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = base * share_left**scheduler.power
        logger.info("The training is extended to %d epochs.", total_epochs)

    def save(self, engine: Engine) -> None:
        """Write the state of the completed epoch."""
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": engine.state.epoch, "random_state": random_state()}
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
