"""Train a registration network."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys as Keys
from torch.nn.parallel import DistributedDataParallel

from ..ops import CapturedGradients


class RegistrationTrainer(SupervisedTrainer):
    """MONAI's trainer, which replays the forward and backward pass of repeated sizes on a GPU.

    See `sacb_bundle.ops.CapturedGradients`. The optimiser steps outside of the replay. Mixed precision, accumulated
    gradients, compiled networks and several processes train as in MONAI. Handlers see the same output at the same
    events, but those of the forward pass and the loss occur after the backward pass.
    """

    @cached_property
    def _gradients(self) -> CapturedGradients:
        """Forward and backward pass of a step."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        return CapturedGradients(self._loss_and_field, parameters)

    def _iteration(self, engine: SupervisedTrainer, batchdata: dict[str, torch.Tensor]) -> dict[str, Any]:
        in_parts = self.accumulation_steps > 1 or isinstance(self.network, DistributedDataParallel)
        if in_parts or self.amp or self.compile:
            return super()._iteration(engine, batchdata)
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        if len(batch) != 2:  # with arguments of the network
            return super()._iteration(engine, batchdata)
        images, target = batch
        self.network.train()
        loss, field = self._gradients(images, target)
        state: Any = self.state
        state.output = {Keys.IMAGE: images, Keys.LABEL: target, Keys.PRED: field, Keys.LOSS: loss}
        for passed in ("FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED"):
            self.fire_event(IterationEvents[passed])
        self.optimizer.step()
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return state.output

    def _loss_and_field(self, images: torch.Tensor, target: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the predicted field of a batch."""
        field = self.inferer(images, self.network)
        return self.loss_function(field, target).mean(), field
