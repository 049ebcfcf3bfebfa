"""Estimate the time and disk space of a study from the headers of its scans."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data.checks import check_scan_grids, grid_of
from ..errors import InputError
from ..spatial import Grid, check_memory, fitting_spacing

# Seconds of one CPU core, measured (docs/performance.md), including the scoring of 134 labels. On a GPU the time of the
# network is negligible, that of its refinement is not.
ALIGNMENT_SECONDS = 4.0
NETWORK_SECONDS_PER_VOXEL = 2.6e-6
REFINEMENT_SECONDS_PER_VOXEL_AND_STEP = 1e-6
OTHER_SECONDS_PER_VOXEL = 3.3e-6
GPU_REFINEMENT_SECONDS_PER_VOXEL_AND_STEP = 1.2e-8
BYTES_PER_VOXEL = 8.0
SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Plan:
    """Estimate for the registration of pairs.

    Attributes:
        pairs: number of pairs.
        sizes: number of fixed images of each size in voxels.
        without_labels: number of pairs that lack a label map and are not scored.
        problems: reason for each pair that cannot be registered, by its id.
        seconds: estimated time.
        disk: estimated size of the results in bytes.
    """

    pairs: int
    sizes: Counter[str]
    without_labels: int
    problems: dict[str, str]
    seconds: float
    disk: float

    def __str__(self) -> str:
        sizes = [f"{size} ({number})" for size, number in self.sizes.most_common(4)]
        more = len(self.sizes) - len(sizes)
        lines = [
            f"pairs     {self.pairs}; {len(self.problems)} cannot be registered, by their headers",
            f"sizes     {', '.join(sizes)}{f' and {more} others' if more else ''}",
            f"labels    {self.without_labels} without both label maps, and so without scores",
            f"time      about {duration(self.seconds)}",
            f"disk      about {_file_size(self.disk)}",
        ]
        problems = list(self.problems.items())
        lines += [f"problem   {case}: {problem}" for case, problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(f"problem   and {len(problems) - SHOWN_PROBLEMS} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class Planner:
    """Estimate the registration of pairs with given settings.

    Attributes:
        spacing: spacing of the working grid in mm, or "auto".
        trained_spacing_mm: spacing of the training, for "auto".
        trained_body_mm: sizes of the smallest and largest bodies in the training, or None, likewise.
        initial: alignment before the network.
        device: device to compute on.
        refine: number of steps that refine each pair.
        jobs: number of processes that load, and of cases written at a time.
    """

    spacing: float | str
    trained_spacing_mm: float
    trained_body_mm: tuple[float, float] | None
    initial: str
    device: str | torch.device
    refine: int
    jobs: int

    def plan(self, pairs: Sequence[Mapping[str, str]]) -> Plan:
        """Plan the registration of pairs from the headers of their files.

        Args:
            pairs: pairs to register, see `sacb_bundle.data.PairFiles`.

        Returns:
            The plan; a pair with an invalid header counts as a problem, and adds neither time nor disk space.
        """
        grids: dict[str, Grid | InputError] = {}
        problems: dict[str, str] = {}
        sizes: Counter[str] = Counter()
        voxels_of_network, others, disk = 0.0, 0.0, 0.0
        for pair in pairs:
            try:
                check_scan_grids(pair, grids)
                fixed, moving = (grid_of(pair[role], grids) for role in ("fixed", "moving"))
                on_working_grid = self._voxels_on_working_grid(fixed, moving)
            except InputError as error:
                problems[pair["id"]] = str(error)
                continue
            voxels = float(np.prod(fixed.shape))
            sizes["x".join(map(str, fixed.shape))] += 1
            voxels_of_network += on_working_grid
            others += OTHER_SECONDS_PER_VOXEL * voxels + ALIGNMENT_SECONDS * (self.initial != "none")
            disk += BYTES_PER_VOXEL * voxels
        return Plan(
            pairs=len(pairs),
            sizes=sizes,
            without_labels=sum("fixed_labels" not in pair or "moving_labels" not in pair for pair in pairs),
            problems=problems,
            seconds=self._seconds(voxels_of_network, others),
            disk=disk,
        )

    def _seconds(self, voxels: float, others: float) -> float:
        """Return the time of a study.

        Args:
            voxels: number of voxels of all working grids.
            others: seconds of one CPU core that all work besides the network takes.
        """
        cores = os.cpu_count() or 1
        if torch.device(self.device).type == "cpu":
            # The network uses all cores that loading and writing leave free.
            per_voxel = NETWORK_SECONDS_PER_VOXEL + self.refine * REFINEMENT_SECONDS_PER_VOXEL_AND_STEP
            return (voxels * per_voxel + others) / cores
        refinement = voxels * self.refine * GPU_REFINEMENT_SECONDS_PER_VOXEL_AND_STEP
        return max(refinement, others / max(1, min(self.jobs, cores)))

    def _voxels_on_working_grid(self, fixed: Grid, moving: Grid) -> float:
        """Return the number of voxels of a working grid over the whole fixed image.

        Raises:
            InputError: if even half of each side cannot be held in memory; a body fills at least that.
        """
        sides = np.array(fixed.shape) * fixed.spacing
        spacing = self.spacing
        if isinstance(spacing, str):
            finest = max(min(fixed.spacing), min(moving.spacing))
            size = float(np.median(sides))
            spacing = fitting_spacing(self.trained_spacing_mm, self.trained_body_mm, size, finest)
        half = tuple(int(np.ceil(side / spacing / 2)) for side in sides)
        check_memory(Grid(half, np.diag([spacing, spacing, spacing, 1.0])))
        return float(np.prod(sides / spacing))


def duration(seconds: float) -> str:
    """Format a time for display.

    Args:
        seconds: time in seconds.

    Returns:
        Text such as "40 s", "12 min" or "3.5 h", at least "1 s".
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _file_size(number: float) -> str:
    """Format a number of bytes: "20 MB", "3.1 GB"."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"
