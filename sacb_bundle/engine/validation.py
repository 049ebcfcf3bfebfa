"""Validate without labels."""

from __future__ import annotations

import torch
from ignite.metrics import Average
from torch import nn


class MeanLoss(Average):
    """Mean of the training loss over the validation pairs.

    Args:
        loss: module from (field (B, 3, D, H, W), image (B, 2, D, H, W)) to a scalar.
    """

    def __init__(self, loss: nn.Module) -> None:
        def mean_loss(output: list[dict[str, torch.Tensor]]) -> torch.Tensor:
            return torch.stack([loss(item["pred"][None], item["image"][None]) for item in output]).mean()

        super().__init__(mean_loss)


def lower_is_better(current: float, best: float) -> bool:
    """Compare values of an evaluator whose key metric is a loss.

    Args:
        current: value of the last validation.
        best: best value so far.

    Returns:
        True if the current value is lower, and therefore better.
    """
    return current < best
