"""Check options, and choose the device to compute on."""

from __future__ import annotations

import math
import os

import torch

from .errors import InputError

LEAST_SPACING_MM, LARGEST_SPACING_MM = 0.01, 100.0


def default_device() -> torch.device:
    """Choose the GPU of this process, or the CPU if there is no GPU.

    Returns:
        The GPU with the number in LOCAL_RANK, as torchrun sets it, modulo the number of GPUs; the first GPU without
        LOCAL_RANK; or the CPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def chosen_device(device: str | torch.device | None) -> torch.device:
    """Return a device that PyTorch can use: the given one, or that of `default_device`.

    Args:
        device: device such as "cpu" or "cuda:1"; None for that of `default_device`.

    Returns:
        The device.

    Raises:
        InputError: if PyTorch cannot use the given one.
    """
    return default_device() if device is None else usable_device(device)


def usable_device(device: str | torch.device) -> torch.device:
    """Return a device after checking that PyTorch can use it.

    Args:
        device: device such as "cpu", "cuda" or "cuda:1".

    Returns:
        The device; the number of the current GPU is added to "cuda".

    Raises:
        InputError: if PyTorch cannot use the device.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:  # types that PyTorch raises without CUDA
        reason = str(error).splitlines()[0]
        raise InputError(f"device is {str(device)!r}, which is not available: {reason}") from error


def check_counts(*, least: int = 1, **counts: int | None) -> None:
    """Check that options are whole numbers of at least 1 (or `least`), or None.

    Args:
        least: smallest number that is allowed.
        counts: values of the options by their names.

    Raises:
        InputError: if one is not; names the option.
    """
    for option, count in counts.items():
        if count is not None and not (type(count) is int and count >= least):
            raise InputError(f"{option} is {count!r}; it must be a whole number of at least {least}.")


def check_truth_values(**values: object) -> None:
    """Check that options are True or False.

    Args:
        values: value of each option, by its name.

    Raises:
        InputError: if a value is neither True nor False.
    """
    for name, value in values.items():
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}; it must be True or False.")


def check_numbers(**numbers: float) -> None:
    """Check that options are finite, non-negative numbers.

    Args:
        numbers: values of the options by their names.

    Raises:
        InputError: if one is not; names the option.
    """
    for option, number in numbers.items():
        if type(number) not in (int, float) or not 0 <= number < math.inf:
            raise InputError(f"{option} is {number!r}; it must be a finite, non-negative number.")


def check_spacing(spacing_mm: object, name: str = "spacing") -> None:
    """Check that a value is the spacing of a working grid.

    Args:
        spacing_mm: value to check.
        name: name of the option, or path and key in a file, for the error message.

    Raises:
        InputError: if it is no number of mm from 0.01 to 100.
    """
    if type(spacing_mm) not in (int, float) or not LEAST_SPACING_MM <= spacing_mm <= LARGEST_SPACING_MM:  # type: ignore[operator]
        raise InputError(
            f"{name} is {spacing_mm!r}; it must be a number of mm from {LEAST_SPACING_MM:g} to {LARGEST_SPACING_MM:g}."
        )
