"""Limit the gradients of a training step."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine


class ClipGradients:
    """Scale the gradients of a step down to a largest norm, so that a single pair cannot throw the network off.

    The norm is that of all gradients together when the optimiser uses them: of the sum of accumulated ones, and without
    the scale of mixed precision.

    Args:
        optimizer: optimiser of the trainer.
        max_norm: largest Euclidean norm.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float) -> None:
        self.optimizer = optimizer
        self.max_norm = max_norm

    def attach(self, trainer: Engine) -> None:
        """Clip the gradients before each step of the optimiser.

        Args:
            trainer: trainer that steps it.
        """
        self.optimizer.register_step_pre_hook(self._clip)

    def _clip(self, optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
        """Scale the gradients if their norm is larger."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)
