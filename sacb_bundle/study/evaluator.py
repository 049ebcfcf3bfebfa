"""The engine that registers the cases of a study."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents

from ..errors import InputError
from .cases import Cases, StudyStoppedError, failure_of
from .memory import release_free_memory


class CaseEvaluator(SupervisedEvaluator):
    """MONAI's evaluator, where postprocessing goes on beside the network, and a case that fails stops no other.

    Args:
        cases: where results and failures go. The postprocessing of a case writes into its "folder".
        jobs: number of cases that may be in postprocessing at a time; 0 to do it in turn with the network.
        arguments: of `SupervisedEvaluator`; batches are those of `CaseLoader`.
    """

    def __init__(self, *, cases: Cases, jobs: int, **arguments: Any) -> None:
        self.cases = cases
        self.jobs = jobs
        self.finishing: dict[Future[str], str] = {}
        self.failed: dict[str, str] = {}
        super().__init__(**arguments)

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Register all cases.

        Raises:
            InputError: at the end, if cases failed; at once, if nothing more can be written.
        """
        self.failed.clear()
        self.finishing.clear()
        with ThreadPoolExecutor(max_workers=max(1, self.jobs), thread_name_prefix="finish") as self.pool:
            try:
                if len(self.data_loader):  # type: ignore[arg-type]
                    super().run(global_epoch)
                else:  # MONAI's evaluator would warn and tell no handler
                    self.fire_event(Events.COMPLETED)
            except BaseException:
                self.pool.shutdown(cancel_futures=True)
                raise
            finally:
                self.cases.close()
        if self.failed:
            case, error = next(iter(self.failed.items()))
            number = len(self.data_loader)  # type: ignore[arg-type]
            raise InputError(f"{len(self.failed)} of {number} cases failed; the first, {case}: {error}")

    def _iteration(self, engine: SupervisedEvaluator, batchdata: dict[str, Any]) -> dict[str, Any]:
        self.started = time.perf_counter()
        failure: dict[str, str] = {key: batchdata[key][0] for key in ("error", "traceback") if key in batchdata}
        if not failure:
            try:
                return super()._iteration(engine, batchdata)
            except StudyStoppedError:
                raise
            except Exception as error:
                failure = failure_of(error)
        if self.cases.part is None:
            raise RuntimeError(failure["traceback"]) if "traceback" in failure else InputError(failure["error"])
        case = batchdata["id"][0]
        self.cases.fail(case, failure)
        self.failed[case] = failure["error"]
        return {}

    def _register_postprocessing(self, posttrans: Callable) -> None:
        @self.on(IterationEvents.MODEL_COMPLETED)
        def finish(engine: Engine) -> None:
            state: Any = engine.state
            if state.device.type == "cuda":
                torch.cuda.synchronize(state.device)
            seconds = time.perf_counter() - self.started
            for batch, output in zip(state.batch, state.output, strict=True):
                data = {**batch, **output, "network_seconds": seconds}
                self.finishing[self.pool.submit(self.cases.finish, posttrans, data)] = data["id"]
            self.wait_until_left(self.jobs)

        @self.on(Events.COMPLETED)
        def finish_all(engine: Engine) -> None:
            self.wait_until_left(0)

    def wait_until_left(self, number: int) -> None:
        """Wait until no more than a number of cases are in postprocessing, and collect those that failed."""
        while len(self.finishing) > number:
            for future in wait(self.finishing, return_when=FIRST_COMPLETED).done:
                case = self.finishing.pop(future)
                error = future.result()
                release_free_memory()
                if error:
                    self.failed[case] = error
