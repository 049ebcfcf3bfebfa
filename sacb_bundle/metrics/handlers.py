"""Ignite metrics for MONAI's `SupervisedEvaluator`: means over the pairs of an epoch, across all processes."""

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
            raise NotComputableError(f"{type(self).__name__}: no image pair could be scored")
        return self._sum / self._count

    @abstractmethod
    def _values(self, output: Any) -> Iterable[float]:
        """Return the value of each pair of a batch that has one."""


class MeanDice(_PairMean):
    """Mean Dice: each pair's mean over the labels present in both its images, averaged over the pairs.

    Pairs without such a label are ignored.

    Args:
        labels: label values to score.
        output_transform: function that gets the warped and the fixed label maps from the engine's output, as two lists
            of tensors (1, D, H, W), for example `from_engine(["warped_labels", "fixed_labels"])`.

    Raises:
        NotComputableError: from `compute`, if no pair had a label to score.
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
    """Percentage of folded voxels (see `folding_percentage`), averaged over the pairs.

    Args:
        output_transform: function that gets the displacement fields from the engine's output, as a list of tensors
            (3, D, H, W) in voxels, for example `from_engine("pred")`.

    Raises:
        NotComputableError: from `compute`, if there was no pair.
    """

    def _values(self, output: Iterable[torch.Tensor]) -> Iterable[float]:
        return map(folding_percentage, output)
