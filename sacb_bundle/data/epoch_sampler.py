"""Order of the samples in an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


class EpochSampler(DistributedSampler):
    """Shuffle that depends only on seed and epoch, so that a resumed run sees the same samples.

    MONAI's engines call `set_epoch` of a `DistributedSampler`. Each of N processes takes every N-th sample; some
    samples are taken twice if the number is not a multiple of N.

    Args:
        dataset: data set to sample from.
        seed: seed of the shuffles, the same in all processes.
        samples_per_epoch: number of samples in an epoch over all processes, rounded up to a multiple of their number;
            None for all.
        num_replicas: number of processes.
        rank: rank of this process.
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
