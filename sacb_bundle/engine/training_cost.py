"""Measure what a training step costs."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import torch
from ignite.engine import Engine, Events

from ..files import write_json

# Keys of the file.
STEP_SECONDS, PEAK_MEGABYTES = "step_seconds", "peak_megabytes"


class TrainingCost:
    """Write the time and the memory of a training step at the end of training.

    The file holds "steps", the number of steps of this process; "step_seconds", their median time without reading of
    data and validation; and "peak_megabytes", the most GPU memory in use, or null on the CPU. It is only there once the
    training is complete. A run without steps leaves it as it is.

    Args:
        path: path of the JSON file.
        device: device of the network.
    """

    def __init__(self, path: str | Path, device: str | torch.device) -> None:
        self.path = Path(path)
        self.device = torch.device(device)
        self.seconds: list[float] = []

    def attach(self, trainer: Engine) -> None:
        """Measure each step of a trainer.

        Args:
            trainer: MONAI trainer.
        """
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._start_step)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._end_step)
        trainer.add_event_handler(Events.COMPLETED, self._write)

    def _start(self) -> None:
        """Forget the memory that was in use before."""
        self.seconds.clear()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)

    def _start_step(self) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def _end_step(self) -> None:
        """Stop the clock after the work on the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds.append(time.perf_counter() - self.started)

    def _write(self) -> None:
        """Write the file.

        Raises:
            InputError: if it cannot be written.
        """
        if not self.seconds:
            return
        peak = torch.cuda.max_memory_allocated(self.device) / 1e6 if self.device.type == "cuda" else None
        costs = {"steps": len(self.seconds), STEP_SECONDS: median(self.seconds), PEAK_MEGABYTES: peak}
        write_json(costs, self.path)
