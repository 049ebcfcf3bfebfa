"""List pairs of real scans for the benchmarks, and register and score them in several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from sacb_bundle import Registrar
from sacb_bundle.spatial import Transform, Volume, resample

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Subject:
    """Files of a subject.

    Attributes:
        image: image.
        labels: label map, or None.
    """

    image: Path
    labels: Path | None


def subjects(data: Path, name: str) -> list[Subject]:
    """List the subjects of a set of scans.

    Args:
        data: folder of the sets.
        name: folder of the set, with `images` and optionally `labels`, whose files have the same names.

    Returns:
        The subjects, by name.
    """
    images = sorted((data / name / "images").glob("*.nii.gz"))
    labels = [data / name / "labels" / image.name for image in images]
    return [Subject(image, path if path.exists() else None) for image, path in zip(images, labels, strict=True)]


def pairs(data: Path, name: str, number: int) -> list[tuple[Subject, Subject]]:
    """Pair the subjects of a set: each with the next one, then with the one after it, and so on.

    Args:
        data: folder of the sets.
        name: folder of the set.
        number: largest number of pairs.

    Returns:
        Pairs of a fixed and a moving subject, all different.
    """
    found = subjects(data, name)
    size = len(found)
    return [(found[i % size], found[(i + 1 + i // size) % size]) for i in range(min(number, size * (size - 1)))]


def mean_dice(transform: Transform, fixed: Volume, moving: Volume) -> float:
    """Score a transform by label maps, on the grid of the fixed one.

    Args:
        transform: transform from fixed to moving world coordinates.
        fixed: fixed label map.
        moving: moving label map.

    Returns:
        The mean Dice of the labels in both maps; NaN if there are none.
    """
    warped = resample(transform, fixed.grid, labels=[moving]).labels[0].values
    common = np.setdiff1d(np.intersect1d(fixed.values, moving.values), [0])
    if not common.size:
        return float("nan")
    sizes = [
        np.bincount(values.ravel(), minlength=common[-1] + 1)[common]
        for values in (fixed.values, warped, np.where(fixed.values == warped, warped, 0))
    ]
    return float((2 * sizes[2] / (sizes[0] + sizes[1])).mean())


@cache
def registrar(device: str | None, initial: str = "affine") -> Registrar:
    """Load the network once for each process.

    Args:
        device: device, or None for the default.
        initial: alignment before the network.

    Returns:
        The registrar with the shipped weights.
    """
    return Registrar(device=device, initial=initial)


def in_processes(function: Callable[[Job], Answer], jobs: Sequence[Job], number: int) -> Iterator[Answer]:
    """Run independent jobs in processes of one thread each.

    Args:
        function: function of a module, called with each job.
        jobs: the jobs, those that take longest first.
        number: number of processes.

    Yields:
        The answers, in the order in which they arrive.
    """
    with get_context("spawn").Pool(number, _start) as pool:
        yield from pool.imap_unordered(function, jobs)


def _start() -> None:
    """Prepare a process: one thread, and no warnings, which are expected by the hundred."""
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
