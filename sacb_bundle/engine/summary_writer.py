"""Write TensorBoard logs."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class LazySummaryWriter:
    """A `SummaryWriter` whose folder and file are made when something is written, not when a config is read.

    Args:
        log_dir: folder of the logs.
    """

    def __init__(self, log_dir: str | Path) -> None:
        self.log_dir = log_dir

    @cached_property
    def writer(self) -> SummaryWriter:
        """The writer of the file."""
        return SummaryWriter(str(self.log_dir))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)
