"""Read and check the state of a training run."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ..errors import InputError
from ..networks.checkpoint import check_weights, read_weights

LARGEST_EPOCH = 10**9


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


def read_state(path: Path, parts: Mapping[str, Stateful]) -> dict[str, Any]:
    """Read the state of a training run, and check it.

    Args:
        path: path of the file.
        parts: objects whose state is in the file, by name; they are not changed.

    Returns:
        The state of each part by its name, with "epoch" (the number of completed epochs), "random_state" and
        "settings".

    Raises:
        InputError: if the file is missing, or is not a training state.
    """
    state = read_weights(path)
    missing = {*parts, "epoch", "random_state", "settings"} - state.keys()
    if missing:
        raise InputError(f"{path}: not a training state; it has no {', '.join(sorted(missing))}.")
    for name in (*parts, "random_state", "settings"):
        if not isinstance(state[name], dict):
            raise _no_state(path, f"{name} is a {type(state[name]).__name__}")
    epoch, total = state["epoch"], epochs_of(state, path)
    if not _is_epoch(epoch) or (total is not None and epoch > total):
        raise _no_state(path, f"epoch is {epoch!r}")
    return state


def epochs_of(state: Mapping[str, Any], path: Path) -> int | None:
    """Return the number of epochs that a training run was planned for.

    Args:
        state: state of the training.
        path: path of its file, for the error message.

    Returns:
        The number; None if its learning rate schedule has none.

    Raises:
        InputError: if it is not a number of epochs.
    """
    schedule = state.get("lr_scheduler")
    total: int | None = schedule.get("total_iters") if isinstance(schedule, dict) else None
    if total is not None and not _is_epoch(total):
        raise _no_state(path, f"total_iters is {total!r}")
    return total


def check_parts(state: Mapping[str, Any], parts: Mapping[str, Stateful], path: Path) -> None:
    """Check that the states of parts can be restored, by restoring them in copies.

    Args:
        state: state of the training, see `read_state`.
        parts: objects to restore later.
        path: path of the file, for the error message.

    Raises:
        InputError: if a state is damaged, or of another network.
    """
    network = parts["network"].state_dict()
    check_weights(state["network"], network, path)
    best = state.get("best")
    if best:
        if not (
            isinstance(best.get("metric"), str)
            and _is_number(best.get("value"))
            and _is_epoch(best.get("epoch"))
            and 1 <= best["epoch"] <= state["epoch"]
        ):
            raise _no_state(path, "best is not the best of its epochs")
        check_weights(best.get("weights"), network, path)
    for name in parts.keys() - {"network", "best"}:
        part: Any = copy.deepcopy(parts[name])
        if not _resembles(state[name], part.state_dict()):
            raise _no_state(path, f"{name} has values of other types")
        try:
            part.load_state_dict(state[name])
            fits = not isinstance(part, torch.optim.Optimizer) or _fits_optimizer(state[name], parts[name])
        except Exception as error:  # a damaged state can raise any error
            raise _no_state(path, f"{name} cannot be restored") from error
        if not fits:
            raise _no_state(path, f"{name} has other options, is of another network, or not finite")
    if "total_iters" in state["lr_scheduler"] and state["lr_scheduler"]["last_epoch"] != state["epoch"]:
        raise _no_state(path, "the learning rate is of another epoch")
    try:
        restore_random_state(state["random_state"], random.Random(), np.random.RandomState(), torch.Generator())
    except Exception as error:
        raise _no_state(path, "random_state cannot be restored") from error


def random_state() -> dict[str, Any]:
    """Return the states of all random generators that training may use.

    Returns:
        The states, in types that load without arbitrary code.
    """
    # Include the legacy global generators, since a user's transform or sampler may draw from them.
    _, keys, position, has_gauss, cached_gaussian = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached_gaussian],
        "python": random.getstate(),
    }


def restore_random_state(state: Mapping[str, Any], of_python: Any, of_numpy: Any, of_torch: torch.Generator) -> None:
    """Restore the states that `random_state` returned, and those of CUDA.

    Args:
        state: states of the generators.
        of_python: generator of Python, or the module `random`.
        of_numpy: legacy generator of numpy, or the module `numpy.random`.
        of_torch: generator of PyTorch on the CPU.

    Raises:
        ValueError: if the state of numpy is damaged; PyTorch and Python raise other errors.
    """
    of_torch.set_state(state["torch"].cpu())
    of_cuda = [torch.ByteTensor(part.cpu()) for part in state["cuda"]]
    if torch.cuda.is_available() and len(of_cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(of_cuda)
    keys, position, has_gauss, cached_gaussian = state["numpy"]
    if not 0 <= position <= len(keys):
        raise ValueError(f"the position {position} is not among {len(keys)} keys")
    of_numpy.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached_gaussian))
    version, internal, gauss = state["python"]
    of_python.setstate((version, tuple(internal), gauss))


def _no_state(path: Path, reason: str) -> InputError:
    """Return the error for a file that is not a training state."""
    return InputError(f"{path}: not a training state of this version, or damaged: {reason}.")


def _is_epoch(value: object) -> bool:
    """Return whether a value is a number of epochs."""
    return type(value) is int and 0 <= value <= LARGEST_EPOCH


def _is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return type(value) in (int, float) and abs(value) < float("inf")  # type: ignore[arg-type]


def _fits_optimizer(saved: dict[str, Any], optimizer: Any) -> bool:
    """Return whether a state has the options of an optimizer, and finite values of the shape of each parameter."""
    groups, parameters = optimizer.state_dict()["param_groups"], []
    for group in optimizer.param_groups:
        parameters += group["params"]
    return all(
        before["lr"] >= 0 and all(before[key] == value for key, value in now.items() if key not in ("lr", "initial_lr"))
        for before, now in zip(saved["param_groups"], groups, strict=True)
    ) and all(
        value.is_floating_point() and value.shape in ((), parameters[index].shape) and bool(value.isfinite().all())
        for index, values in saved["state"].items()
        for value in values.values()
    )


def _resembles(saved: object, ours: object) -> bool:
    """Return whether the numbers, texts and lists of a state are where they are in another state of such an object."""
    if isinstance(ours, dict) and isinstance(saved, dict):
        return all(_resembles(saved.get(key), value) for key, value in ours.items())
    if isinstance(ours, (list, tuple)) and isinstance(saved, type(ours)):
        return len(saved) == len(ours) and all(map(_resembles, saved, ours))
    return _is_number(saved) if _is_number(ours) else ours is None or isinstance(saved, type(ours))
