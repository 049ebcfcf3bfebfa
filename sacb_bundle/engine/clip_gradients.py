"""Limit the gradients of a training step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents


class ClipGradients:
    """Scale the gradients of a step down to a largest norm, so that a single pair cannot throw the network off.

    Args:
        parameters: parameters of the network.
        max_norm: largest Euclidean norm of all gradients together.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], max_norm: float) -> None:
        self.parameters = list(parameters)
        self.max_norm = max_norm

    def attach(self, trainer: Engine) -> None:
        """Clip the gradients of each step of a trainer, before the optimiser uses them.

        Args:
            trainer: MONAI trainer.
        """
        trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, trainer: SupervisedTrainer) -> None:
        """Scale the gradients if their norm is larger.

        Args:
            trainer: trainer after the backward pass.
        """
        if trainer.amp and trainer.scaler is not None:
            trainer.scaler.unscale_(trainer.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
