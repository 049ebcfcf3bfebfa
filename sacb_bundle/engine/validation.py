"""Decide whether and by what a training validates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Average
from torch import nn


class MeanLoss(Average):
    """Mean of the loss of the registration over the validation pairs, within their masks.

    Args:
        loss: module from (field (B, 3, D, H, W), image (B, 2, D, H, W)), and masks (B, 2, D, H, W) if there are any, to
            a scalar.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    @torch.no_grad()
    def iteration_completed(self, engine: Engine) -> None:
        """Add the losses of a batch, whose masks are in the batch alone.

        Args:
            engine: evaluator, with lists of items as its batch and its output.
        """
        state: Any = engine.state
        for given, item in zip(state.batch, state.output, strict=True):
            field = item["pred"]
            compared = [item["image"], given["masks"].to(field)] if "masks" in given else [item["image"]]
            self.update(self.loss(field[None], *(maps[None] for maps in compared)))


def is_validated(items: Sequence[Mapping[str, str]], interval: int, epochs: int) -> bool:
    """Return whether a training validates any epoch.

    Args:
        items: subjects to validate on, each with the path "image"; or pairs, see `sacb_bundle.data.PairFiles`.
        interval: number of epochs from one validation to the next.
        epochs: number of all epochs.

    Returns:
        True if there is a pair to validate on, for which subjects must be at least two, and the training reaches the
        first validation.
    """
    needed = 2 if any("image" in item for item in items) else 1
    return len(items) >= needed and interval <= epochs


def higher_is_better(current: float, best: float) -> bool:
    """Compare values of an evaluator whose key metric is a score.

    Args:
        current: value of the last validation.
        best: best value so far.

    Returns:
        Whether the current value is higher, and so better.
    """
    return current > best


def lower_is_better(current: float, best: float) -> bool:
    """Compare values of an evaluator whose key metric is a loss.

    Args:
        current: value of the last validation.
        best: best value so far.

    Returns:
        True if the current value is lower, and therefore better.
    """
    return current < best
