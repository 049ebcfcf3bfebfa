"""Apply a transform to files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError
from ..files import check_results, whole_file
from ..spatial import (
    Grid,
    Series,
    Transform,
    as_series,
    read_transform,
    read_volume,
    series_dtype,
    volume_name,
    warp_points,
    warp_series,
    with_points_moved,
    write_series,
)

logger = logging.getLogger(__name__)


def apply_transform(
    transform: Path,
    reference: Path,
    images: Sequence[Path],
    labels: Sequence[Path],
    points: Sequence[Path],
    output_dir: Path,
    label_interpolation: str,
    points_space: str,
    device: torch.device,
) -> None:
    """Warp images, label maps and points of the moving image onto the fixed image.

    Args:
        transform: transform from fixed to moving, see `sacb_bundle.spatial.read_transform`.
        reference: image on whose grid the results lie, the fixed image as a rule.
        images: images to warp by linear interpolation: 3-D, or series of 3-D frames.
        labels: label maps to warp.
        points: CSV or markups, see `sacb_bundle.spatial.with_points_moved`.
        output_dir: folder of the results, which have the names of the files; volumes are written as .nii.gz.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        points_space: "LPS" or "RAS", the coordinate system of a CSV.
        device: device to compute on.

    Raises:
        InputError: if a file is not what it should be, or the transform is not one of these images. Nothing is
            written then.
    """
    volumes = [*images, *labels]
    targets = checked_targets([*volumes, *points], len(volumes), output_dir, [transform, reference])
    whole = read_transform(transform, device)
    grid = read_volume(reference).grid
    if whole.displacement is not None and not whole.displacement.grid.encloses(grid):
        raise InputError(
            f"{reference} has {grid}, which reaches beyond {transform} with {whole.displacement.grid}. Is it another "
            "image's transform?"
        )
    sources = [checked_series(path, number >= len(images)) for number, path in enumerate(volumes)]
    for path, source in zip(volumes, sources, strict=True):
        if not whole.reaches(grid, source.series.grid):
            raise InputError(f"{path}: the transform takes no part of {reference} into it. Is it another image's?")
    texts = [with_points_moved(path, partial(moved_points, whole, grid, path), points_space) for path in points]
    num_planes = grid.shape[0] * sum(len(source.series) for source in sources)
    with tqdm(total=num_planes, desc="warping", unit="plane", delay=2) as bar:
        for source, target in zip(sources, targets, strict=False):
            frames = warp_series(
                whole, grid, source.series, source.labels, label_interpolation, source.dtype, bar.update
            )
            write_series(frames, target, grid, source.series.axes)
    for text, target in zip(texts, targets[len(volumes) :], strict=True):
        with whole_file(target) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    for target in targets:
        logger.info("wrote %s", target)


def checked_targets(files: Sequence[Path], num_volumes: int, output_dir: Path, others: Sequence[Path]) -> list[Path]:
    """Return the path of each result, and check that results can be written there.

    Args:
        files: volumes, then points.
        num_volumes: number of volumes among them.
        output_dir: folder of the results.
        others: other files that are read.

    Raises:
        InputError: if there is no file, or a result would overwrite another one or a file that is read.
    """
    if not files:
        raise InputError("There is nothing to apply the transform to: name images, labels or points.")
    targets = [output_dir / f"{volume_name(path)}.nii.gz" for path in files[:num_volumes]]
    targets += [output_dir / path.name for path in files[num_volumes:]]
    for path, target in zip(files, targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(f"{path}: another file gives {target}, too; apply the transform to them one by one.")
    check_results(targets, [*others, *files])
    return targets


@dataclass(frozen=True, eq=False)
class Source:
    """A series to warp, whose frames have all been read and checked once.

    Attributes:
        series: images or label maps.
        labels: whether they are label maps.
        dtype: type of number of the warped series.
    """

    series: Series
    labels: bool
    dtype: np.dtype


def checked_series(path: Path, labels: bool) -> Source:
    """Open a file and check all its frames, without keeping them.

    Raises:
        InputError: if the file, or a frame of it, is not what it should be.
    """
    series = as_series(path, "moving")
    return Source(series, labels, series_dtype(series, labels))


def moved_points(transform: Transform, fixed: Grid, path: str | Path, points: np.ndarray) -> np.ndarray:
    """Warp points, and warn if some leave the fixed image, see `warp_points`."""
    moved = warp_points(transform, points)
    outside = ~fixed.contains(moved)
    if outside.any():
        logger.warning(
            "%s: %d of %d points end outside the fixed image, where the transform is a guess.",
            path, outside.sum(), len(outside),
        )  # fmt: skip
    return moved
