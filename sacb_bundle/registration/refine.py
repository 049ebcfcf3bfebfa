"""Refine a registration: optimise a copy of the network's weights, and then the field, for the pair at hand."""

from __future__ import annotations

import copy
import logging
import math
import threading
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import InputError
from ..metrics import folding_percentage
from ..networks import WeightsInfo
from ..ops import warp
from ..quality import have_one_contrast
from ..quality.measures import FOREGROUND
from .optimise import METHODS, FieldCorrection, Optimiser

# Steps on a GPU, where they take a second or less.
DEFAULT_STEPS = 50
MOST_STEPS = 1000
# Percentage of folded voxels that a refined field may have, even if the network's own has fewer.
ALLOWED_FOLDING_PERCENT = 0.01
# Largest error of a round trip through the fields of both directions, as a share of the way there. Between contrasts of
# one head, it is 0.9 to 1.1 if they lie well already, and 0.4 to 0.7 if one of them is deformed.
LARGEST_ROUND_TRIP_ERROR = 0.8
# Steps that correct the field after those that optimise the weights, and their largest learning rate, in voxels.
CORRECTION_SHARE, CORRECTION_RATE = 0.4, 0.1
# Number of points of the curve of the loss in the record.
MOST_POINTS = 50
# Memory that a step takes on a GPU, for a message.
BYTES_PER_VOXEL = 900

logger = logging.getLogger(__name__)
# Refinements of one network share its copy, so they run one after the other.
_lock = threading.Lock()


def default_steps(device: str | torch.device, weights: WeightsInfo) -> int:
    """Return the number of steps that is worth its time on a device.

    Args:
        device: device to compute on.
        weights: description of the weights.

    Returns:
        That of the weights on a GPU; 0 on the CPU, where they take longer than the network.
    """
    return weights.refine if torch.device(device).type == "cuda" else 0


@dataclass(frozen=True)
class Refinement:
    """Settings of a refinement.

    Attributes:
        steps: number of steps; 0 for the network alone. On a GPU, they optimise the weights, and 0.4 times as many
            steps correct the field; on the CPU, where the weights take too long, all of them correct the field.
        similarity: "lncc" for images of one contrast, "mind" or "mi" for others, or "auto" to choose "lncc" or "mind"
            for each pair, see `sacb_bundle.quality.have_one_contrast`.
        smoothness: weight of the smoothness of the field; by default, that of the similarity.

    Raises:
        InputError: if a value is invalid.
    """

    steps: int
    similarity: str = "auto"
    smoothness: float | None = None

    def __post_init__(self) -> None:
        if type(self.steps) is not int or not 0 <= self.steps <= MOST_STEPS:
            raise InputError(f"refine is {self.steps!r}; it must be a whole number of steps from 0 to {MOST_STEPS}.")
        if self.similarity not in ("auto", *METHODS):
            raise InputError(f"similarity is {self.similarity!r}; it must be one of auto, {', '.join(METHODS)}.")
        if self.steps == 0 and (self.similarity != "auto" or self.smoothness is not None):
            raise InputError("similarity and smoothness are settings of the refinement, which is off; set refine, too.")
        weight = self.smoothness
        if weight is not None and (type(weight) not in (int, float) or not 0 < weight < math.inf):
            raise InputError(f"smoothness is {weight!r}; it must be a finite number above 0.")


@dataclass(frozen=True, eq=False)
class Refined:
    """A displacement field, and how it was refined.

    Attributes:
        field: displacement field (3, D, H, W) fp32 in voxels: the refined one, or the network's own.
        steps: number of steps; 0 for the network alone.
        similarity: "lncc", "mind" or "mi"; "" for the network alone.
        losses: loss before each step, of the weights and then of the field, and after the last; empty for the network
            alone, or if memory ran out.
        best_step: number of steps, of both kinds, after which the loss was lowest.
        reason: why the network's own field was kept after all, in words; "" if it was not.
        mean_loss: loss of the mean of both directions; None if one direction was optimised.
    """

    field: torch.Tensor
    steps: int = 0
    similarity: str = ""
    losses: tuple[float, ...] = ()
    best_step: int = 0
    reason: str = ""
    mean_loss: float | None = None

    @property
    def loss_after(self) -> float:
        """Loss of the refined field."""
        return self.losses[self.best_step] if self.mean_loss is None else self.mean_loss

    @property
    def used(self) -> bool:
        """Whether the field is the refined one."""
        return self.steps > 0 and not self.reason

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for the record: numbers that are not finite become None, and the curve at most 50 points."""
        finite = [loss if math.isfinite(loss) else None for loss in self.losses]
        step = max(1, math.ceil((len(finite) - 1) / (MOST_POINTS - 1)))
        return {
            "refine_steps": self.steps,
            "refined": self.used,
            "refine_reason": self.reason,
            "refine_similarity": self.similarity,
            "refine_best_step": self.best_step,
            "loss_before": finite[0] if finite else None,
            "loss_after": self.loss_after if finite and math.isfinite(self.loss_after) else None,
            "loss_curve": [*finite[:-1:step], *finite[-1:]],
        }


class Refiner:
    """Refine the displacement fields of a network, whose own weights never change.

    Args:
        network: network, see `sacb_bundle.networks.RegistrationNetwork`.
        refinement: settings.
    """

    def __init__(self, network: nn.Module, refinement: Refinement) -> None:
        self.network = network
        self.refinement = refinement
        self._optimisers: dict[str, Optimiser] = {}
        self._corrections: dict[tuple[str, torch.Size], Optimiser] = {}

    def __call__(self, images: torch.Tensor, field: torch.Tensor, masks: torch.Tensor | None = None) -> Refined:
        """Refine a field, in fp32, whatever autocast and gradient mode are set.

        Args:
            images: pair (1, 2, D, H, W) fp32 in [0, 1], moving and fixed, on the device of the network.
            field: displacement field (3, D, H, W) that the network predicts for it.
            masks: masks (1, 2, D, H, W) of the moving and the fixed image, 0 where an image does not count; by default,
                nothing is masked.

        Returns:
            The refined field, if it raises the similarity and does not fold more; otherwise, the network's own.

        Raises:
            InputError: if the masks leave nothing to compare.
        """
        steps, similarity = self.refinement.steps, self.refinement.similarity
        if not steps:
            return Refined(field)
        if masks is not None and not masks.all(dim=1).any():
            raise InputError("The masks leave nothing to compare: no voxel of the working grid is in both.")
        if similarity == "auto":
            moving, fixed = images[0].split(1)
            similarity = "lncc" if have_one_contrast(moving, fixed, masks) else "mind"
        logger.info("refinement: %d steps with %s", steps, similarity)
        autocast = torch.autocast(images.device.type, enabled=False)
        with _lock, torch.inference_mode(False), torch.enable_grad(), autocast:
            images, masks = images.clone(), masks if masks is None else masks.clone()
            try:
                refined = self._refined(images, field, masks, similarity)
            except torch.cuda.OutOfMemoryError:
                self._optimisers.clear()
                self._corrections.clear()
                refined = Refined(field, steps, similarity, reason=_out_of_memory(images))
        if refined.used:
            logger.info("refinement: loss %.4f to %.4f", refined.losses[0], refined.loss_after)
        else:
            logger.warning("The refinement is not used, and the field is the network's own: %s.", refined.reason)
        return refined

    def _refined(self, images: torch.Tensor, own: torch.Tensor, masks: torch.Tensor | None, similarity: str) -> Refined:
        """Return the result of a refinement with a given similarity."""
        field, losses, best_step = self._optimised(images, own, masks, similarity)
        mean_loss = None
        reason = _failure(losses, best_step)
        if not reason and similarity != "lncc":
            field, reason = self._both_ways(field, images, masks, similarity)
            optimiser = self._corrections[similarity, field.shape]
            with torch.no_grad():
                mean_loss = optimiser.scale * float(optimiser.loss(field[None], images, masks))
        reason = reason or self._worse(field, own, images, masks, similarity)
        return Refined(
            own if reason else field, self.refinement.steps, similarity, losses, best_step, reason, mean_loss
        )

    def _optimised(
        self, images: torch.Tensor, own: torch.Tensor, masks: torch.Tensor | None, similarity: str
    ) -> tuple[torch.Tensor, tuple[float, ...], int]:
        """Return the optimised field, the losses and the best step, see `Refined`."""
        steps = self.refinement.steps
        losses: tuple[float, ...] = ()
        field, best_step = own, 0
        if _optimises_weights(images.device):
            weights = self._weights_optimiser(similarity)
            weights.begin(self.network.state_dict())
            field, losses, best_step = weights.run(images, masks, steps)
            steps = math.ceil(CORRECTION_SHARE * steps)
        corrected, further, best = self._correction_optimiser(similarity, field).run(images, masks, steps)
        if best > 0:
            field, best_step = corrected, max(len(losses) - 1, 0) + best
        return field, losses + (further[1:] if losses else further), best_step

    def _both_ways(
        self, field: torch.Tensor, images: torch.Tensor, masks: torch.Tensor | None, similarity: str
    ) -> tuple[torch.Tensor, str]:
        """Optimise the field of the other direction, too.

        Between two contrasts, a field also follows what only one of them shows. That differs between the directions.

        Returns:
            The mean of the field and the approximate inverse of the other one, and the reason not to use it, or "".
        """
        swapped, swapped_masks = images.flip(1), masks if masks is None else masks.flip(1)
        with torch.no_grad():
            own = self.network(swapped)[0].float()
        other, losses, best_step = self._optimised(swapped, own, swapped_masks, similarity)
        if reason := _failure(losses, best_step):
            return field, f"{reason} of the other direction"
        returned = warp(other[None], field[None])[0]
        shown = images[0, 1] > FOREGROUND
        if masks is not None:
            shown &= masks[0].all(dim=0)
        round_trip, there = (float(vectors.norm(dim=0)[shown].sum()) for vectors in (field + returned, field))
        if not round_trip <= LARGEST_ROUND_TRIP_ERROR * there:
            error = round_trip / max(there, 1e-6)
            reason = f"the fields of both directions contradict each other (a round trip is {error:.0%} of the way off)"
        return (field - returned) / 2, reason

    def _worse(
        self,
        field: torch.Tensor,
        own: torch.Tensor,
        images: torch.Tensor,
        masks: torch.Tensor | None,
        similarity: str,
    ) -> str:
        """Return the reason why a field is worse than the network's own; "" if it is not."""
        dissimilarity = self._corrections[similarity, field.shape].loss.dissimilarity
        with torch.no_grad():
            before, after = (float(dissimilarity(u[None], images, masks)) for u in (own, field))
        if before < after:
            return _agrees_less(similarity, before, after)
        folds_before, folds_after = folding_percentage(own), folding_percentage(field)
        if folds_after > max(folds_before, ALLOWED_FOLDING_PERCENT):
            return f"it folds at {folds_after:.3f} % of the voxels instead of {folds_before:.3f} %"
        return ""

    def _weights_optimiser(self, similarity: str) -> Optimiser:
        """Return the optimiser of a copy of the network."""
        if similarity not in self._optimisers:
            # Without gradients, a copy of a TorchScript network has parameters that an optimiser takes.
            with torch.no_grad():
                network = copy.deepcopy(self.network)
            method = METHODS[similarity]
            self._optimisers[similarity] = Optimiser(network, method, self.refinement.smoothness, method.rate)
        return self._optimisers[similarity]

    def _correction_optimiser(self, similarity: str, field: torch.Tensor) -> Optimiser:
        """Return the optimiser of a correction of a field."""
        kind = similarity, field.shape
        if kind not in self._corrections:  # keep the last one only: each shape has its own graph and memory
            module = FieldCorrection(field)
            optimiser = Optimiser(module, METHODS[similarity], self.refinement.smoothness, CORRECTION_RATE)
            self._corrections = {kind: optimiser}
        self._corrections[kind].begin(FieldCorrection(field).state_dict())
        return self._corrections[kind]


def _optimises_weights(device: torch.device) -> bool:
    """Return whether a device is fast enough to optimise the weights: on the CPU, a step takes seconds."""
    return device.type == "cuda"


def _failure(losses: tuple[float, ...], best_step: int) -> str:
    """Return the reason why an optimisation failed; "" if it did not."""
    if not math.isfinite(losses[0]):
        return "the loss is not finite"
    return "no step lowers the loss" if best_step == 0 else ""


def _agrees_less(similarity: str, before: float, after: float) -> str:
    """Explain that a loss of the similarity rose."""
    name, sign = ("mind distance", 1) if similarity == "mind" else (similarity, -1)
    return f"the images agree less after it ({name} {sign * before:.4f} before, {sign * after:.4f} after)"


def _out_of_memory(images: torch.Tensor) -> str:
    """Explain that memory ran out."""
    torch.cuda.empty_cache()
    needed = BYTES_PER_VOXEL * images[0, 0].numel()
    free, _ = torch.cuda.mem_get_info(images.device)
    return f"it needs about {needed / 1e9:.1f} GB of GPU memory, of which {free / 1e9:.1f} GB are free"
