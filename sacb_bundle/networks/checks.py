"""Checks that all networks share: of their options and of their input."""

from __future__ import annotations

import torch

from ..errors import InputError


def check_whole(option: str, least: int, *values: object) -> None:
    """Check that the values of an option are whole numbers that are large enough.

    Args:
        option: name of the option, for the error message.
        least: smallest number that is allowed.
        values: values of the option.

    Raises:
        InputError: if a value is not a whole number, or is too small.
    """
    for value in values:
        if type(value) is not int or value < least:
            raise InputError(f"{option} is {value!r}; it must be a whole number of at least {least}.")


def check_pair(image: torch.Tensor, size_divisor: int) -> None:
    """Check that the input of a network is a batch of pairs, of sizes that the network takes.

    Args:
        image: input of the network; should be (B, 2, D, H, W).
        size_divisor: number by which D, H and W must be divisible.

    Raises:
        InputError: if the image does not have five axes or two channels, or a size is not divisible by the number.
    """
    if image.ndim != 5 or image.shape[1] != 2:
        raise InputError(f"The input has shape {tuple(image.shape)}; it must be (B, 2, D, H, W), moving and fixed.")
    for axis, size in zip("DHW", image.shape[2:], strict=True):
        if size % size_divisor:
            valid = -(-size // size_divisor) * size_divisor
            raise InputError(f"Axis {axis} has size {size}; the next size divisible by {size_divisor} is {valid}.")
