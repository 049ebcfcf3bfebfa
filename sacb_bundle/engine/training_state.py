"""Stop, resume and extend training."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events

from ..errors import InputError
from ..networks import WeightsInfo
from ..networks.checkpoint import read_weights, write_whole
from .run_folder import STATE
from .state_file import Stateful, check_parts, epochs_of, random_state, read_state, restore_random_state

# Address of an object in its `repr`, which differs between processes.
_ADDRESS = re.compile(" at 0x[0-9a-f]+")

logger = logging.getLogger(__name__)


# Parts of a description that do not change the training: what is measured on the data, and how weights are used.
OF_USE = ("body_mm", "refine")


class TrainingState:
    """Save the state of training after each epoch, and restore it at the start of a resumed run.

    The state consists of the given parts, the epoch, and the random states of torch, CUDA, numpy and Python. The file
    is always complete. Training can be extended to more epochs, even after it has finished; the learning rate then
    follows the longer schedule from that epoch.

    Args:
        path: path of the file written after each epoch.
        resume: False to start anew, True to resume from `path`, or the path of another such file.
        parts: objects to save, by name: "network", "optimizer", "lr_scheduler" and others with a state.
        info: description of the weights, which a continued training keeps.
        settings: further settings that a continued training keeps, by name, in types that JSON can hold. Devices do not
            count.
        accept_changes: whether a continued training may have other settings, which are then only reported.
        writes: whether this process writes the file; one of several that train together does.

    Raises:
        InputError: if the file to resume from is missing or damaged, or from a run with other settings.
    """

    def __init__(
        self,
        path: str | Path,
        resume: bool | str,
        parts: Mapping[str, Stateful],
        info: WeightsInfo | None = None,
        settings: Mapping[str, Any] | None = None,
        accept_changes: bool = False,
        writes: bool = True,
    ) -> None:
        self.path = Path(path)
        self.writes = writes
        self.parts = parts
        # Old weights would get a wrong description.
        described = {} if info is None else {key: value for key, value in asdict(info).items() if key not in OF_USE}
        self.settings = _comparable(dict(settings or {}) | described)
        self.accept_changes = accept_changes
        self.start = self.read(self.path if resume is True else Path(str(resume))) if resume else None

    def read(self, path: Path) -> dict[str, Any]:
        """Read the state to resume from, and check that it matches this training.

        Args:
            path: path of the file.

        Returns:
            The state of each part by its name, with "epoch" (the number of completed epochs), "random_state" and
            "settings".

        Raises:
            InputError: if the file is not a training state, or does not match.
        """
        state = read_state(path, self.parts)
        self._check_settings(state["settings"], path)
        check_parts(state, self.parts, path)
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

    def _check_settings(self, saved: Mapping[str, Any], path: Path) -> None:
        """Check that the settings are those of the earlier run, or that changes are accepted.

        Args:
            saved: settings of the earlier run.
            path: path of the file, for the error message.

        Raises:
            InputError: if settings differ; lists them.
        """
        before, now = dict(_single_settings(saved)), dict(_single_settings(self.settings))
        changes = "; ".join(
            f"{name} {_one_line(before.get(name))} → {_one_line(now.get(name))}"
            for name in sorted(before.keys() | now.keys())
            if not _equal(before.get(name), now.get(name))
        )
        if changes and not self.accept_changes:
            raise InputError(
                f"{path}: its training has other settings (old → new): {changes}. Resume with the original settings "
                "and data, or accept the new ones with accept_changes."
            )
        if changes:
            logger.warning("The training continues with other settings (old → new): %s.", changes)

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
        restore_random_state(self.start["random_state"], random, np.random, torch.default_generator)
        engine.state.epoch = self.start["epoch"]
        engine.state.iteration = self.start["epoch"] * engine.state.epoch_length
        if engine.state.epoch == engine.state.max_epochs:
            logger.info("The training of %d epochs is finished; more --max-epochs extend it.", engine.state.epoch)
        else:
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
        state |= {"epoch": engine.state.epoch, "random_state": random_state(), "settings": self.settings}
        write_whole(state, self.path)


def epochs_to_train(resume: bool | str | Path, output_dir: str | Path, default: int | None) -> int | None:
    """Return the number of epochs of the run to resume, or the default for a new one.

    Args:
        resume: False for a new run, True to resume from last.pt in the output folder, or the path of a state.
        output_dir: output folder.
        default: number of epochs of a new run, if it is known.

    Returns:
        The number of all epochs, including those completed; the default if the state has no number.

    Raises:
        InputError: if there is no state to resume from.
    """
    if not resume:
        return default
    path = Path(output_dir) / STATE if resume is True else Path(str(resume))
    epochs = epochs_of(read_weights(path), path)
    return default if epochs is None else epochs


def _comparable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in plain types, without what differs between machines and processes: devices and addresses."""
    text = _ADDRESS.sub("", json.dumps(settings))
    plain: dict[str, Any] = json.loads(
        text, object_hook=lambda values: {key: value for key, value in values.items() if key != "device"}
    )
    return plain


def _single_settings(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """Yield the name and value of each setting, see `sacb_bundle.study.fingerprint.described`."""
    if _is_object(value):
        yield name, value[0]  # type: ignore[index]
        value = value[1]  # type: ignore[index]
    if isinstance(value, list) and any(map(_is_object, value)):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        yield name, value
        return
    for key, child in value.items():
        yield from _single_settings(child, f"{name}.{key}".lstrip("."))


def _is_object(value: object) -> bool:
    """Return whether a value is the description of an object: its class and its attributes."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)


def _equal(before: object, now: object) -> bool:
    """Return whether two values of a setting are equal, such as 2 and 2.0."""
    numbers = type(before) in (int, float) and type(now) in (int, float)
    return _one_line(before) == _one_line(now) or (numbers and before == now)


def _one_line(value: object) -> str:
    """Return a value in words, on one line."""
    return " ".join(str(value).split())
