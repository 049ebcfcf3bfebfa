"""Load cases, so that a failed case does not affect the others."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from monai.data import DataLoader, Dataset
from torch.utils.data import Subset

from ..checks import check_numbers
from ..errors import failure_of
from .memory import release_free_memory

# Seconds between checks whether workers are alive.
WAIT_SECONDS = 5.0

logger = logging.getLogger(__name__)


class CaseDataset(Dataset):
    """Preprocessed pairs: the items of the transform, with the "seconds" that it took.

    The item of a failed pair holds its "id", the "error" and, unless it is an `InputError`, the "traceback".

    Args:
        data: pairs, see `sacb_bundle.data.Pair`.
        transform: preprocessing of a pair.
    """

    def __init__(self, data: Sequence[Mapping[str, str]], transform: Callable) -> None:
        super().__init__(data, transform)

    def _transform(self, index: int) -> dict[str, Any]:
        pair = self.data[index]
        start = time.perf_counter()
        try:
            item = super()._transform(index)
        except Exception as error:
            return {"id": pair["id"], **failure_of(error)}
        finally:
            release_free_memory()
        return {**item, "seconds": time.perf_counter() - start}


class CaseLoader:
    """Batches of one case each, in order, made by worker processes.

    A batch holds a list of one value for each item, and "image" as a tensor (1, 2, D, H, W).

    If a worker is killed (by the system when memory runs out, for example), loading continues with new workers. The
    case that was due is tried once more, in a worker of its own; if that is killed, too, the case counts as failed. A
    case that takes too long counts as failed, too, and its worker is killed.

    Args:
        dataset: cases to load.
        num_workers: number of worker processes; 0 to load in this process, without a limit of time.
        read_timeout: seconds to wait for a case; 0 for no limit.

    Raises:
        InputError: if `read_timeout` is not a number of seconds.
    """

    def __init__(self, dataset: CaseDataset, num_workers: int, read_timeout: float = 600) -> None:
        check_numbers(read_timeout=read_timeout)
        self.dataset = dataset
        self.num_workers = num_workers
        self.read_timeout = read_timeout
        self.positions: Sequence[int] = range(len(dataset))

    def take(self, cases: Sequence[str]) -> None:
        """Load only the cases with these ids.

        Args:
            cases: ids of the cases to load, in any order; the order of the dataset counts.
        """
        wanted = set(cases)
        self.positions = [position for position, pair in enumerate(self.dataset.data) if pair["id"] in wanted]

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        done = 0
        while done < len(self):
            batches = self.batches(self.positions[done:])
            failed: dict[str, Any] = {}
            try:
                while batch := self._next(batches):
                    yield batch
                    done += 1
                return
            except TimeoutError as error:
                failed = self._failed(self.positions[done], str(error))
            except RuntimeError as error:
                if not _is_death_of_worker(error):
                    raise
                logger.warning("A worker that loads cases was killed; loading continues. (%s)", error)
            del batches  # ends the workers, by a signal if they do not end by themselves
            yield failed or self._alone(self.positions[done])
            done += 1

    def batches(self, positions: Sequence[int]) -> Iterator[dict[str, Any]]:
        """Start to load some cases, in worker processes if there are any.

        Args:
            positions: positions of the cases in the dataset, from 0.

        Returns:
            Iterator over the batches, in the order of the positions. It raises a RuntimeError if a worker is killed,
            or if there is no batch after a few seconds, whereupon one can wait again.
        """
        workers = min(self.num_workers, len(positions))
        options = {"prefetch_factor": 1, "timeout": min(WAIT_SECONDS, self.read_timeout)} if workers else {}
        cases: Subset = Subset(self.dataset, positions)
        batches = DataLoader(cases, batch_size=1, num_workers=workers, collate_fn=_as_batch, **options)
        with _deaths_told_only_to_who_waits():
            iterator = iter(batches)
        return iterator

    def _next(self, batches: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
        """Return the next batch; None if there is none.

        Args:
            batches: iterator that `batches` returned.

        Raises:
            TimeoutError: if it takes too long.
            RuntimeError: if a worker is killed.
        """
        end = time.monotonic() + self.read_timeout
        while True:
            try:
                return next(batches, None)
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error):
                    raise
                # PyTorch tells of killed workers only after its own limit, so that one is short.
                if time.monotonic() >= end:
                    raise TimeoutError(f"took longer than {self.read_timeout:g} s, see read_timeout.") from None

    def _alone(self, position: int) -> dict[str, Any]:
        """Return the batch of one case, made by a worker of its own.

        Args:
            position: position of the case in the dataset, from 0.

        Returns:
            The batch; if the worker is killed, or takes too long, it holds only "id" and "error".
        """
        try:
            return self._next(self.batches([position])) or {}
        except TimeoutError as error:
            return self._failed(position, str(error))
        except RuntimeError as error:
            if not _is_death_of_worker(error):
                raise
            return self._failed(position, f"was killed; out of memory? ({error})")

    def _failed(self, position: int, reason: str) -> dict[str, Any]:
        """Return the batch of a case that could not be loaded.

        Args:
            position: position of the case in the dataset, from 0.
            reason: what happened to the worker.
        """
        return {"id": [self.dataset.data[position]["id"]], "error": [f"The worker that loaded it {reason}"]}


def _as_batch(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Make the batch of one case."""
    (item,) = items
    return {key: value[None] if key == "image" else [value] for key, value in item.items()}


def _is_death_of_worker(error: RuntimeError) -> bool:
    """Return whether an error of PyTorch's loader is the death of a worker."""
    return "DataLoader worker" in str(error)


@contextmanager
def _deaths_told_only_to_who_waits() -> Iterator[None]:
    """Keep PyTorch from raising the death of a worker during other work; the next wait for a batch raises it."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)
