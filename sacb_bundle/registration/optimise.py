"""Optimise a displacement field for a pair of images: the weights of the network behind it, or a correction of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ..losses import (
    FoldingLoss,
    LocalNCCLoss,
    MutualInformationLoss,
    RegistrationLoss,
    SelfSimilarityLoss,
    SmoothnessLoss,
)
from ..ops import Captured, upsample_field

# Weight of the penalty on folds, and the determinant below which it acts.
FOLDING_WEIGHT, LEAST_DETERMINANT = 30.0, 0.1


@dataclass(frozen=True)
class Method:
    """Loss of an optimisation, and learning rate for the weights of a network.

    Attributes:
        similarity: similarity, as a loss.
        scale: factor of that loss.
        smoothness: weight of the smoothness of the field.
        rate: largest learning rate.
    """

    similarity: nn.Module
    scale: float
    smoothness: float
    rate: float


METHODS = {
    "lncc": Method(LocalNCCLoss(7), scale=1.0, smoothness=0.7, rate=1e-3),
    "mind": Method(SelfSimilarityLoss(), scale=10.0, smoothness=3.0, rate=2e-3),
    "mi": Method(MutualInformationLoss(), scale=1.0, smoothness=0.7, rate=1.6e-3),
}


class Regulariser(nn.Module):
    """Smoothness of a displacement field, and a penalty on its folds.

    Args:
        weight: weight of the smoothness.
    """

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.smoothness, self.folding = SmoothnessLoss(), FoldingLoss(LEAST_DETERMINANT)

    def forward(self, field: torch.Tensor) -> torch.Tensor:
        """Return the loss of a displacement field.

        Args:
            field: displacement field (B, 3, D, H, W), in voxels.

        Returns:
            Scalar.
        """
        return self.weight * self.smoothness(field) + FOLDING_WEIGHT * self.folding(field)


class FieldCorrection(nn.Module):
    """A displacement field plus a correction, given on a grid of half the resolution.

    Args:
        field: displacement field (3, D, H, W), in voxels.
    """

    field: torch.Tensor

    def __init__(self, field: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("field", field.detach()[None].clone())
        self.correction = nn.Parameter(field.new_zeros(1, 3, *(-(-size // 2) for size in field.shape[1:])))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the corrected field.

        Args:
            images: any pair.

        Returns:
            Displacement field (1, 3, D, H, W), in voxels.
        """
        depth, height, width = self.field.shape[2:]
        return self.field + upsample_field(self.correction)[..., :depth, :height, :width]


class Optimiser:
    """Optimise the parameters of a module that gives a displacement field, for one pair after another.

    A GPU replays the steps. The learning rate rises from 0 and falls to 0 as half a sine, since the first steps of Adam
    are the least certain, and long optimisations diverge at a constant rate.

    Args:
        module: module from a pair (1, 2, D, H, W) to a field (1, 3, D, H, W), in voxels.
        method: loss.
        smoothness: weight of the smoothness; None for that of the method.
        rate: largest learning rate.
    """

    def __init__(self, module: nn.Module, method: Method, smoothness: float | None, rate: float) -> None:
        self.module = module
        self.largest_rate = rate
        self.scale = method.scale
        weight = method.smoothness if smoothness is None else smoothness
        self.loss = RegistrationLoss(method.similarity, Regulariser(weight), 1 / method.scale)
        parameters = [parameter.requires_grad_() for parameter in module.parameters()]
        device = parameters[0].device
        # A tensor, so that a replayed step takes its new value.
        self.rate = torch.zeros((), device=device)
        self.adam = torch.optim.Adam(parameters, lr=self.rate, capturable=device.type == "cuda")
        self._step = Captured(self._loss_and_field)

    def begin(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take a state of the module, and forget earlier steps, in place.

        Args:
            state: values of its parameters and buffers.
        """
        self.module.load_state_dict(state)
        for values in self.adam.state.values():
            for value in values.values():
                value.zero_()

    def run(
        self, images: torch.Tensor, masks: torch.Tensor | None, steps: int
    ) -> tuple[torch.Tensor, tuple[float, ...], int]:
        """Optimise the parameters, without waiting for the device before the end.

        Args:
            images: pair (1, 2, D, H, W).
            masks: masks (1, 2, D, H, W), or None.
            steps: number of steps.

        Returns:
            The field (3, D, H, W) of the lowest loss, the loss before each step and after the last, and the number of
            steps after which it was lowest.
        """
        inputs = (images,) if masks is None else (images, masks)
        best_loss = torch.full((), math.inf, device=images.device)
        best_field = torch.zeros((), device=images.device)
        losses = []
        for step in range(steps + 1):
            self.rate.fill_(self.largest_rate * math.sin(math.pi * (step + 1) / (steps + 2)))
            loss, field = self._step(*inputs)
            better = loss < best_loss  # NaN never is
            best_loss, best_field = torch.where(better, loss, best_loss), torch.where(better, field, best_field)
            losses.append(loss)
        values = torch.stack(losses)
        best_step = int(torch.where(values.isfinite(), values, math.inf).argmin())
        return best_field[0], tuple((self.scale * values).tolist()), best_step

    def _loss_and_field(
        self, images: torch.Tensor, masks: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss and the field of the current parameters, and step."""
        self.adam.zero_grad()
        field = self.module(images)
        loss = self.loss(field, images, masks)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad()
        return loss.detach(), field.detach()
