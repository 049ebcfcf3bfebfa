"""Load cases, so that a failed case does not affect the others."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from monai.data import Dataset

from ..checks import check_numbers
from ..errors import failure_of
from .memory import release_free_memory

# Seconds after which an idle worker checks whether its parent is still running.
PARENT_CHECK_SECONDS = 2.0
# Seconds before a case whose worker was killed is tried again, so that other cases can free memory.
RETRY_SECONDS = 5.0
SHUTDOWN_SECONDS = 1.0

logger = logging.getLogger(__name__)


class CaseDataset(Dataset):
    """Preprocessed pairs: the items of the transform, with the "seconds" that it took.

    The item of a failed pair holds its "id", the "error" and, unless it is an `InputError`, the "traceback".

    Args:
        data: pairs, see `sacb_bundle.data.PairFiles`.
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

    A worker that is killed (by the system when memory runs out, for example) is replaced, and its case is tried once
    more; if that worker is killed, too, the case counts as failed. So does a case that takes too long, whose worker is
    killed and replaced. The loaders of PyTorch share a pipe among their workers, and can hang when one is killed; here
    each worker has its own.

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
        if not self.num_workers:
            yield from (_as_batch(self.dataset[position]) for position in self.positions)
            return
        waiting = deque(self.positions)
        # Each worker loads one case ahead, in the order of the cases.
        busy = deque(_Worker(self.dataset) for _ in range(min(self.num_workers, len(waiting))))
        try:
            for worker in busy:
                worker.start(waiting.popleft())
            while busy:
                worker = busy.popleft()
                try:
                    item = worker.result(self.read_timeout)
                finally:
                    busy.append(worker)
                if waiting:
                    worker.start(waiting.popleft())
                else:
                    busy.pop().end()
                yield _as_batch(item)
        finally:
            for worker in busy:
                worker.end()


class _Worker:
    """A process that loads one case at a time."""

    def __init__(self, dataset: CaseDataset) -> None:
        self.dataset = dataset
        self.position = 0
        self._fork()

    def _fork(self) -> None:
        """Start the process."""
        self.connection, theirs = multiprocessing.Pipe()
        arguments = (self.dataset, theirs, self.connection, os.getpid())
        self.process = multiprocessing.Process(target=_work, args=arguments, daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process ends the connection

    def start(self, position: int) -> None:
        """Start to load the case at a position in the dataset."""
        self.position = position
        with suppress(OSError):  # if the process was killed while idle, `result` tells
            self.connection.send(position)

    def result(self, timeout: float) -> dict[str, Any]:
        """Return the item of the case, or the "id" and "error" of one that failed.

        Args:
            timeout: seconds to wait for it; 0 for no limit.
        """
        try:
            try:
                return self._received(timeout)
            except EOFError as error:
                logger.warning("A worker that loads cases %s It is replaced.", error)
                time.sleep(RETRY_SECONDS)
                self._fork()
                self.start(self.position)
                return self._received(timeout)
        except (EOFError, TimeoutError) as error:
            self._fork()
            return {"id": self.dataset.data[self.position]["id"], "error": f"The worker that loaded it {error}"}

    def _received(self, timeout: float) -> dict[str, Any]:
        """Return the item of the case; end the process if there is none.

        Args:
            timeout: seconds to wait for it; 0 for no limit.

        Raises:
            EOFError: if the process was killed.
            TimeoutError: if it takes too long.
        """
        try:
            if self.connection.poll(timeout or None):
                item: dict[str, Any] = pickle.loads(self.connection.recv_bytes())
                return item
        except (EOFError, OSError) as error:
            self.end()
            raise EOFError(f"was killed; out of memory? (exit code {self.process.exitcode})") from error
        self.end()
        raise TimeoutError(f"took longer than {timeout:g} s, see read_timeout.")

    def end(self) -> None:
        """End the process."""
        self.connection.close()
        self.process.kill()
        self.process.join(SHUTDOWN_SECONDS)


def _work(dataset: CaseDataset, connection: Connection, of_parent: Connection, parent: int) -> None:
    """Load the cases whose positions come from the parent process, and send the items, until the parent ends."""
    of_parent.close()  # so that the end of the parent ends the connection
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):  # the parent has ended
        while True:
            while not connection.poll(PARENT_CHECK_SECONDS):
                if os.getppid() != parent:
                    return
            position = connection.recv()
            try:
                # Pickled here, since a connection would put tensors into memory that ends with this process.
                content = pickle.dumps(dataset[position], protocol=pickle.HIGHEST_PROTOCOL)
            except Exception as error:
                content = pickle.dumps({"id": dataset.data[position]["id"], **failure_of(error)})
            connection.send_bytes(content)


def _as_batch(item: Mapping[str, Any]) -> dict[str, Any]:
    """Make the batch of one case."""
    return {key: value[None] if key == "image" else [value] for key, value in item.items()}
