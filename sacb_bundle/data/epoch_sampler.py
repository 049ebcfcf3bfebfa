"""The order of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


class EpochSampler(DistributedSampler):
    """A shuffle that depends on seed and epoch alone, so that a continued run sees what it would have seen.

    MONAI's engines call `set_epoch` of a `DistributedSampler`. Of processes that share an epoch, each takes every so
    many-th sample; where they do not come out even, some samples are taken twice.

    Args:
        dataset: to sample from.
        seed: of the shuffles, the same in all processes.
        samples_per_epoch: how many of the samples an epoch takes, in all processes together, rounded up to as many for
            each; None for all.
        num_replicas: number of processes.
        rank: of this process.
    """

    def __init__(
        self, dataset: Dataset, seed: int, samples_per_epoch: int | None = None, num_replicas: int = 1, rank: int = 0
    ) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
        everything = super().__len__()
        self.taken = everything if samples_per_epoch is None else min(everything, -(-samples_per_epoch // num_replicas))

    def __iter__(self) -> Iterator[int]:
        return islice(super().__iter__(), self.taken)

    def __len__(self) -> int:
        return self.taken
