"""The order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from ..errors import InputError


class EpochSampler(DistributedSampler):
    """A shuffle that depends on seed and epoch alone, so that a continued run sees what it would have seen.

    MONAI's engines call `set_epoch` of a `DistributedSampler`; this is one for a single process.

    Args:
        dataset: to sample from.
        seed: of the shuffles.
        samples_per_epoch: how many of the samples an epoch takes; None for all.
    """

    def __init__(self, dataset: Dataset, seed: int, samples_per_epoch: int | None = None) -> None:
        if samples_per_epoch is not None and samples_per_epoch < 1:
            raise InputError(f"pairs_per_epoch is {samples_per_epoch}; an epoch has at least one pair.")
        super().__init__(dataset, num_replicas=1, rank=0, seed=seed)
        everything = super().__len__()
        self.taken = everything if samples_per_epoch is None else min(everything, samples_per_epoch)

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.taken)

    def __len__(self) -> int:
        return self.taken
