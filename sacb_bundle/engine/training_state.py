"""Stop, resume and extend a training."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from ..networks import WeightsInfo
from ..networks.checkpoint import check_weights, read_weights, write_whole
from .run_folder import STATE

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """An object whose state can be saved and restored."""

    def state_dict(self) -> dict:
        """Return the state.

        Returns:
            The state, in types that `read_weights` reads without executing code.
        """

    def load_state_dict(self, state_dict: dict) -> object:
        """Restore a state.

        Args:
            state_dict: state that the method `state_dict` of such an object returned.

        Returns:
            Any value; it is not used.
        """


class TrainingState:
    """Save the state of a training after each epoch, and restore it at the start of a resumed training.

    The state consists of the given parts, the epoch, and the random states of torch, CUDA, numpy and Python. The file
    is always complete. A training can be extended to more epochs, even after it has finished; its learning rate then
    follows the longer schedule from that epoch.

    Args:
        path: path of the file written after each epoch.
        resume: False to start anew, True to resume from `path`, or the path of another such file.
        parts: objects to save, by name: "network", "optimizer", "lr_scheduler" and others with a state.
        info: description of the weights; a continued training keeps its network, spacing and modality.
        writes: whether this process writes the file; one of several that train together does.

    Raises:
        InputError: if the file to resume from is missing, or from another network or schedule.
    """

    def __init__(
        self,
        path: str | Path,
        resume: bool | str,
        parts: Mapping[str, Stateful],
        info: WeightsInfo | None = None,
        writes: bool = True,
    ) -> None:
        self.path = Path(path)
        self.writes = writes
        self.parts = parts
        self.info = info
        self.start = self.read(self.path if resume is True else Path(str(resume))) if resume else None

    def read(self, path: Path) -> dict[str, Any]:
        """Read the state to resume from, and check that it matches this training.

        Args:
            path: path of the file.

        Returns:
            The state of each part by its name, with "epoch" (the number of completed epochs) and "random_state".

        Raises:
            InputError: if the file is no training state, or does not match.
        """
        state = read_weights(path)
        missing = {*self.parts, "epoch", "random_state"} - state.keys()
        if missing:
            raise InputError(f"{path}: not a training state; it has no {', '.join(sorted(missing))}.")
        check_weights(state["network"], self.parts["network"].state_dict(), path)
        self._check_info(state.get("info"), path)
        schedule, saved = self.parts["lr_scheduler"].state_dict(), state["lr_scheduler"]
        for key in {"base_lrs", "power"} & schedule.keys():
            if saved.get(key) != schedule[key]:
                raise InputError(
                    f"{path}: its learning rate schedule has {key} {saved.get(key)}, but this run has {schedule[key]}. "
                    "Resume with the original learning_rate."
                )
        if "total_iters" in schedule and schedule["total_iters"] < max(state["epoch"], saved.get("total_iters", 0)):
            raise InputError(
                f"{path}: this training of {saved.get('total_iters')} epochs has completed {state['epoch']}; resume "
                f"with max_epochs of at least {saved.get('total_iters')}, not {schedule['total_iters']}."
            )
        return state

    def _check_info(self, saved: dict[str, Any] | None, path: Path) -> None:
        """Check that the weights are used as before, since old weights would get a wrong description.

        Args:
            saved: description of the weights in the file, as a dict; None if the file has none.
            path: path of the file, for the error message.

        Raises:
            InputError: if the network, the spacing or the modality differs.
        """
        if saved is None or self.info is None:
            return
        for key in ("network", "spacing_mm", "modality"):
            if saved[key] != getattr(self.info, key):
                raise InputError(
                    f"{path}: its training has {key} {saved[key]}, but this run has {getattr(self.info, key)}. "
                    "Resume with the original settings and data."
                )

    def attach(self, engine: Engine) -> None:
        """Restore the state when the engine starts, and save it after each epoch.

        Args:
            engine: engine that trains.
        """
        engine.add_event_handler(Events.STARTED, self.restore)
        if self.writes:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def restore(self, engine: Engine) -> None:
        """Restore the state to resume from, if any.

        Args:
            engine: engine that trains; its epoch and iteration are set.
        """
        if self.start is None:
            return
        scheduled = self.parts["lr_scheduler"].state_dict().get("total_iters")
        for name, part in self.parts.items():
            part.load_state_dict(self.start[name])
        if scheduled is not None and scheduled != self.start["lr_scheduler"].get("total_iters"):
            self._extend(scheduled)
        _restore_random_state(self.start["random_state"])
        engine.state.epoch = self.start["epoch"]
        engine.state.iteration = self.start["epoch"] * engine.state.epoch_length
        logger.info("Continuing after epoch %d of %d.", engine.state.epoch, engine.state.max_epochs)
        self.start = None

    def _extend(self, total_epochs: int) -> None:
        """Extend the polynomial schedule of the learning rate to more epochs.

        Args:
            total_epochs: number of epochs of the longer schedule, including those completed.
        """
        scheduler: Any = self.parts["lr_scheduler"]
        scheduler.total_iters = total_epochs
        share_left = 1 - scheduler.last_epoch / total_epochs
        for group, base in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = base * share_left**scheduler.power
        logger.info("Extending the training to %d epochs.", total_epochs)

    def save(self, engine: Engine) -> None:
        """Write the state of the completed epoch.

        Args:
            engine: engine that trains, with the number of completed epochs in its state.

        Raises:
            InputError: if the file cannot be written.
        """
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"epoch": engine.state.epoch, "random_state": _random_state()}
        if self.info is not None:
            state["info"] = asdict(self.info)
        write_whole(state, self.path)


def epochs_to_train(resume: bool | str | Path, output_dir: str | Path, default: int) -> int:
    """Return the number of epochs of the training to resume, or the default for a new one.

    Args:
        resume: False for a new training, True to resume from last.pt in the output folder, or the path of a state.
        output_dir: output folder.
        default: number of epochs of a new training.

    Returns:
        The number of all epochs, including those completed; the default if the state has no number.

    Raises:
        InputError: if there is no state to resume from.
    """
    if not resume:
        return default
    state = read_weights(Path(output_dir) / STATE if resume is True else Path(str(resume)))
    return int(state.get("lr_scheduler", {}).get("total_iters", default))


def _random_state() -> dict[str, Any]:
    """Return the states of all random generators that training may use, in types that load without arbitrary code."""
    # Include the legacy global generators, since a user's transform or sampler may draw from them.
    _, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached_gaussian],
        "python": random.getstate(),
    }


def _restore_random_state(state: Mapping[str, Any]) -> None:
    """Restore the states that `_random_state` returned."""
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
    keys, position, has_gauss, cached_gaussian = state["numpy"]
    numpy_state = ("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached_gaussian)
    np.random.set_state(numpy_state)  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
