"""Register pairs of any size with a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch.nn.parallel import DistributedDataParallel

from ..ops import Captured
from ..registration.refine import Refined, Refinement, Refiner


class RegistrationInferer(SimpleInferer):
    """Pad a pair with zeros on all sides to sizes that the network accepts, and crop the field to the pair's grid.

    Repeated sizes are replayed on a GPU, see `sacb_bundle.ops.Captured`, if no gradients are needed.

    Args:
        size_divisor: number by which each size must be divisible.
    """

    def __init__(self, size_divisor: int) -> None:
        super().__init__()
        self.size_divisor = size_divisor
        self._captured: Captured | None = None

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the displacement field (B, 3, D, H, W), in voxels, of a pair (B, 2, D, H, W)."""
        shape = inputs.shape[2:]
        margins = [(-size % self.size_divisor) for size in shape]
        starts = [margin // 2 for margin in margins]
        padding = [
            amount
            for margin, start in zip(reversed(margins), reversed(starts), strict=True)
            for amount in (start, margin - start)
        ]
        field = self._forward_of(network)(F.pad(inputs, padding), *args, **kwargs)
        for axis, (start, size) in enumerate(zip(starts, shape, strict=True), start=2):
            field = field.narrow(axis, start, size)
        return field

    def _forward_of(self, network: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Return the function that applies the network."""
        if torch.is_grad_enabled() or isinstance(network, DistributedDataParallel):
            return network
        if self._captured is None or self._captured.function is not network:
            self._captured = Captured(network)
        return self._captured


class RefiningInferer(RegistrationInferer):
    """Predict the displacement field of a pair, and refine it.

    The settings apply unless the metadata of a pair holds others, see `sacb_bundle.transforms.RequestRefinementd`.

    Args:
        size_divisor: number by which each size must be divisible.
        steps: number of steps; 0 for the network alone.
        similarity: similarity to raise, see `sacb_bundle.registration.refine.Refinement`.
        smoothness: weight of the smoothness; by default, that of the similarity.

    Raises:
        InputError: if an option is invalid.
    """

    def __init__(
        self, size_divisor: int, steps: int, similarity: str = "auto", smoothness: float | None = None
    ) -> None:
        super().__init__(size_divisor)
        self.refinement = Refinement(steps, similarity, smoothness)
        self._refiner: Refiner | None = None

    def __call__(  # type: ignore[override]
        self, inputs: torch.Tensor, network: torch.nn.Module, masks: torch.Tensor | None = None
    ) -> list[Refined]:
        """Return the refined field of a batch of one pair (1, 2, D, H, W), as a batch."""
        metadata = inputs.meta if isinstance(inputs, MetaTensor) else {}
        refinement = metadata.get("refinement", self.refinement)
        inputs = inputs.as_subclass(torch.Tensor)
        (field,) = super().__call__(inputs, network).float()
        refiner = self._refiner  # another thread may replace it
        if refiner is None or (refiner.network, refiner.refinement) != (network, refinement):
            refiner = self._refiner = Refiner(network, refinement)
        return [refiner(inputs, field, masks)]
