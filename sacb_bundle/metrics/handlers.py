"""Ignite metrics for a MONAI ``SupervisedEvaluator``: means over the pairs of an epoch, on all processes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce

from .folding import folding_percentage
from .overlap import dice


class _PairMean(Metric):
    """Mean of one value per image pair."""

    @reinit__is_reduced
    def reset(self) -> None:
        self._sum = 0.0
        self._count = 0

    @reinit__is_reduced
    def update(self, output: Any) -> None:
        values = list(self._values(output))
        self._sum += sum(values)
        self._count += len(values)

    @sync_all_reduce("_sum", "_count")
    def compute(self) -> float:
        if self._count == 0:
            raise NotComputableError(f"{type(self).__name__}: no image pair had anything to score")
        return self._sum / self._count

    @abstractmethod
    def _values(self, output: Any) -> Iterable[float]:
        """The value of each pair of a batch that has one."""


class MeanDice(_PairMean):
    """Mean over the pairs of each pair's mean Dice coefficient over the labels present in both its images.

    A pair without such a label does not count.

    Args:
        labels: label values to score.
        output_transform: gives the warped and the fixed label maps from the engine's output, as two lists of
            tensors (1, D, H, W): ``from_engine(["warped_labels", "fixed_labels"])``.

    Raises:
        NotComputableError: from ``compute``, if no pair had a label to score.
    """

    def __init__(self, labels: Iterable[int], output_transform: Callable[[Any], Any]) -> None:
        self.labels = sorted(set(labels))
        super().__init__(output_transform)

    def _values(self, output: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]) -> Iterable[float]:
        for warped, fixed in zip(*output, strict=True):
            scores = dice(warped[0], fixed[0], self.labels)
            if scores:
                yield fmean(scores.values())


class Folding(_PairMean):
    """Mean over the pairs of the percentage of folded voxels, see :func:`folding_percentage`.

    Args:
        output_transform: gives the displacement fields from the engine's output, as a list of tensors
            (3, D, H, W) in voxels: ``from_engine("pred")``.

    Raises:
        NotComputableError: from ``compute``, if there was no pair.
    """

    def _values(self, output: Iterable[torch.Tensor]) -> Iterable[float]:
        return map(folding_percentage, output)
