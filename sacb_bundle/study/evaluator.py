"""Engine that registers many cases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Protocol

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents

from ..errors import failure_of
from .cases import StudyStoppedError
from .memory import limit_arenas, release_free_memory


class Results(Protocol):
    """Destination of the results of cases: the folders of a `Study`, or the tables of an evaluation."""

    def begin(self) -> Sequence[str]:
        """Prepare for writing.

        Returns:
            The ids of the cases to register.

        Raises:
            InputError: if results cannot be written.
        """

    def finish(self, process: Callable, data: dict[str, Any]) -> str:
        """Process a case, and keep its results.

        Args:
            process: postprocessing of a case, from its items to the items with the results.
            data: items of the case, with "id".

        Returns:
            The reason the case failed; "" if it did not.

        Raises:
            InputError: if no more results can be written, which ends the run.
        """

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Record a case that failed before postprocessing.

        Args:
            case: id of the case.
            failure: error to record, see `failure_of`.

        Raises:
            InputError: if no more results can be written, which ends the run.
        """

    def summarise(self) -> dict[str, float]:
        """Write the summary of all cases.

        Returns:
            The mean scores of the cases, by name, for the evaluator's metrics.
        """

    def stop(self) -> None:
        """Write the summary of the finished cases after an interruption."""

    def end(self, failed: Mapping[str, str], number: int) -> None:
        """End the run, after all else is done.

        Args:
            failed: reason each case failed, by its id.
            number: number of all cases of the run.

        Raises:
            InputError: if the failed cases are an error.
        """

    def release(self) -> None:
        """Allow other processes to write."""


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator with postprocessing in parallel with the network; a failed case does not stop the others.

    Args:
        results: destination of the results.
        jobs: number of cases in postprocessing at a time; 0 to alternate postprocessing with the network.
        arguments: arguments of `SupervisedEvaluator`; the data loader must be a `CaseLoader`.
    """

    def __init__(self, *, results: Results, jobs: int, **arguments: Any) -> None:
        self.results = results
        self.jobs = jobs
        self.finishing: dict[Future[str], str] = {}
        self.failed: dict[str, str] = {}
        super().__init__(decollate=False, **arguments)

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Register all cases.

        Args:
            global_epoch: number of the training epoch that is validated, from 1; 1 outside training.

        Raises:
            InputError: at the end, if failed cases are an error; at once, if no more results can be written.
        """
        limit_arenas()
        self.failed.clear()
        self.finishing.clear()
        loader: Any = self.data_loader
        loader.take(self.results.begin())
        self.state.epoch_length = len(loader)
        with ThreadPoolExecutor(max_workers=max(1, self.jobs), thread_name_prefix="finish") as self.pool:
            try:
                if len(loader):
                    super().run(global_epoch)
                else:  # MONAI's evaluator would only warn, without calling the handlers
                    self.results.summarise()
            except BaseException:
                self.pool.shutdown(cancel_futures=True)
                self.results.stop()
                raise
            finally:
                self.results.release()
        self.results.end(self.failed, len(loader))

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> dict[str, Any]:
        self.started = time.perf_counter()
        if engine.state.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(engine.state.device)
        failure: dict[str, str] = {key: batchdata[key][0] for key in ("error", "traceback") if key in batchdata}
        if not failure:
            try:
                return super()._iteration(engine, batchdata)
            except StudyStoppedError:
                raise
            except Exception as error:
                failure = failure_of(error)
        case = batchdata["id"][0]
        self.results.fail(case, failure)
        self.failed[case] = failure["error"]
        return {}

    def _register_postprocessing(self, posttrans: Callable) -> None:
        @self.on(IterationEvents.MODEL_COMPLETED)
        def finish(engine: Engine) -> None:
            state: Any = engine.state
            peak_bytes = None
            if state.device.type == "cuda":
                torch.cuda.synchronize(state.device)
                peak_bytes = torch.cuda.max_memory_allocated(state.device)
            seconds = time.perf_counter() - self.started
            data = {key: values[0] for key, values in (state.batch | state.output).items()}
            data |= {"network_seconds": seconds, "network_peak_bytes": peak_bytes}
            task = self.pool.submit(self.results.finish, posttrans, data)
            self.finishing[task] = data["id"]
            self._wait_until_left(self.jobs)

        @self.on(Events.EPOCH_COMPLETED)
        def finish_all(engine: Engine) -> None:
            self._wait_until_left(0)
            engine.state.metrics.update(self.results.summarise())

    def _wait_until_left(self, number: int) -> None:
        """Wait until at most `number` cases are in postprocessing, and collect those that failed.

        Args:
            number: largest number of cases that may remain in postprocessing.

        Raises:
            InputError: if no more results can be written.
        """
        while len(self.finishing) > number:
            for future in wait(self.finishing, return_when=FIRST_COMPLETED).done:
                case = self.finishing.pop(future)
                error = future.result()
                release_free_memory()
                if error:
                    self.failed[case] = error
