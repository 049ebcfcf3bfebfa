"""The part of a study that this process does, locked against other processes."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from filelock import FileLock, Timeout

from ..errors import InputError
from ..files import remove_unfinished_files
from ..registration.result_folder import UNFINISHED

LOCK = ".lock-"
UNFINISHED_PART = re.compile(rf"{re.escape(UNFINISHED)}(?P<part>\d+-of-(?P<size>\d+))-[0-9a-f]{{32}}")


@dataclass(frozen=True)
class Part:
    """One of the processes that share a study.

    Attributes:
        rank: number of the process, from 0.
        size: number of processes.
    """

    rank: int
    size: int

    @classmethod
    def of_environment(cls) -> Part:
        """Read the part from RANK and WORLD_SIZE, as torchrun sets them.

        Returns:
            The part; the whole study if neither is set.

        Raises:
            InputError: if they are not a rank and a number of processes.
        """
        values = [os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"))]
        if not all(value.isdecimal() for value in values) or not int(values[0]) < int(values[1]):
            raise InputError(
                f"RANK is {values[0]!r} and WORLD_SIZE {values[1]!r} in the environment; a rank is a whole number "
                "below the number of processes."
            )
        return cls(*map(int, values))

    @property
    def name(self) -> str:
        """Name of the part, used in the names of this process's own files."""
        return f"{self.rank}-of-{self.size}"

    @property
    def leads(self) -> bool:
        """Whether this process reports on the study as a whole."""
        return self.rank == 0

    def take(self, output_dir: Path) -> FileLock:
        """Lock this part of the study, and remove unfinished files of killed processes.

        Args:
            output_dir: existing folder of the study.

        Returns:
            The lock, which also ends with the process.

        Raises:
            InputError: if another process does this part, a study with another number of parts is running, or files
                cannot be locked in the folder.
        """
        own = FileLock(output_dir / f"{LOCK}{self.name}")
        try:
            own.acquire(timeout=0)
        except Timeout as error:
            raise _in_use(output_dir) from error
        except OSError as error:
            raise InputError(
                f"{output_dir}: files cannot be locked there ({error.strerror}); locks keep two processes from writing "
                "the same results. Choose a folder on another file system."
            ) from error
        others = {path.name.removeprefix(LOCK) for path in output_dir.glob(f"{LOCK}*")}
        for name in others:
            if not name.endswith(f"-of-{self.size}"):
                try:
                    # Other processes may try the same lock at this moment.
                    with FileLock(output_dir / f"{LOCK}{name}").acquire(timeout=2):
                        pass
                except Timeout as error:
                    own.release()
                    raise _in_use(output_dir) from error
        if self.leads:
            remove_unfinished_files(output_dir)
        for folder in output_dir.iterdir():
            match = UNFINISHED_PART.fullmatch(folder.name)
            if match and (match["part"] == self.name or (self.leads and int(match["size"]) != self.size)):
                shutil.rmtree(folder, ignore_errors=True)
        return own

    def wait_for_others(self) -> None:
        """Wait for all processes, if they are connected (under torchrun)."""
        if self.size > 1 and "TORCHELASTIC_RUN_ID" in os.environ:
            if not dist.is_initialized():
                dist.init_process_group("gloo", timeout=timedelta(days=30))
            dist.barrier()


def _in_use(output_dir: Path) -> InputError:
    """Return the error for a second process."""
    return InputError(f"{output_dir}: another process is writing results there; wait for it, or choose another folder.")
