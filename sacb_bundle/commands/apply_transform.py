"""Apply a transform to files."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
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
    overwrite: bool = False,
) -> None:
    """Warp images, label maps and points of the moving image onto the fixed image.

    Args:
        transform: transform from fixed to moving, see `sacb_bundle.spatial.read_transform`.
        reference: image that defines the grid of the results, usually the fixed image.
        images: images to warp by linear interpolation: 3-D, or series of 3-D frames.
        labels: label maps to warp.
        points: CSV or markups; `sacb_bundle.spatial.with_points_moved` reads them.
        output_dir: folder of the results, which are named after the files; volumes are written as .nii.gz.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        points_space: coordinate system of a CSV, "LPS" or "RAS".
        device: device to compute on.
        overwrite: whether results may replace files.

    Raises:
        InputError: if a file is invalid, the transform belongs to other images, or a result would replace a file; no
            file is written then.
    """
    volumes = [*images, *labels]
    targets = _checked_targets([*volumes, *points], len(volumes), output_dir, [transform, reference], overwrite)
    whole = read_transform(transform, device)
    grid = read_volume(reference).grid
    if whole.displacement is not None and not whole.displacement.grid.encloses(grid):
        raise InputError(
            f"{reference} has {grid}, which extends beyond {transform} with {whole.displacement.grid}. Does the "
            "transform belong to another image?"
        )
    sources = [_checked_series(path, number >= len(images)) for number, path in enumerate(volumes)]
    for path, source in zip(volumes, sources, strict=True):
        if not whole.reaches(grid, source.series.grid):
            raise InputError(
                f"{path}: the transform maps no part of {reference} into it. Does it belong to another image?"
            )
    texts = [with_points_moved(path, partial(_moved_points, whole, grid, path), points_space) for path in points]
    num_volumes = sum(len(source.series) for source in sources)
    with tqdm(total=num_volumes, desc="warping", unit="volume", delay=2) as bar:
        for source, target in zip(sources, targets, strict=False):
            frames = warp_series(whole, grid, source.series, source.labels, label_interpolation, source.dtype)
            write_series(_counted(frames, bar), target, grid, source.series.axes)
    for text, target in zip(texts, targets[len(volumes) :], strict=True):
        with whole_file(target) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    for target in targets:
        logger.info("wrote %s", target)


def _checked_targets(
    files: Sequence[Path], num_volumes: int, output_dir: Path, others: Sequence[Path], overwrite: bool
) -> list[Path]:
    """Return the path of each result, and check that results can be written there.

    Args:
        files: volumes, then points.
        num_volumes: number of volumes among them.
        output_dir: folder of the results.
        others: other inputs.
        overwrite: whether results may replace files that are no input.

    Raises:
        InputError: if there is no file, or a result would overwrite another result, an input or a file.
    """
    if not files:
        raise InputError("There is nothing to apply the transform to: name images, labels or points.")
    targets = [output_dir / f"{volume_name(path)}.nii.gz" for path in files[:num_volumes]]
    targets += [output_dir / path.name for path in files[num_volumes:]]
    for path, target in zip(files, targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(f"{path}: another file also gives {target}; apply the transform to each separately.")
    check_results(targets, [*others, *files], overwrite)
    return targets


@dataclass(frozen=True, eq=False)
class Source:
    """A series to warp, after all its frames have been read and checked.

    Attributes:
        series: images or label maps.
        labels: whether they are label maps.
        dtype: data type of the warped series.
    """

    series: Series
    labels: bool
    dtype: np.dtype


def _checked_series(path: Path, labels: bool) -> Source:
    """Open a file and check all its frames, without keeping them.

    Raises:
        InputError: if the file or one of its frames is invalid.
    """
    series = as_series(path, "moving")
    return Source(series, labels, series_dtype(series, labels))


def _counted(frames: Iterable[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    """Yield frames, and count each on a progress bar."""
    for frame in frames:
        bar.update()
        yield frame


def _moved_points(transform: Transform, fixed: Grid, path: str | Path, points: np.ndarray) -> np.ndarray:
    """Warp points, see `warp_points`, and warn if some end outside the fixed image."""
    moved = warp_points(transform, points)
    outside = ~fixed.contains(moved)
    if outside.any():
        logger.warning(
            "%s: %d of %d points end outside the fixed image, where the transform is extrapolated.",
            path, outside.sum(), len(outside),
        )  # fmt: skip
    return moved
