"""What the config apply.json runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..errors import InputError
from ..files import check_results, whole_file
from ..spatial import (
    Grid,
    Transform,
    check_label_interpolation,
    read_finite,
    read_label_map,
    read_transform,
    read_volume,
    resample,
    volume_name,
    warp_points,
    with_points_moved,
    write_volume,
)

logger = logging.getLogger(__name__)


def apply_transform(
    transform: str | Path,
    reference: str | Path,
    images: Sequence[str | Path],
    labels: Sequence[str | Path],
    points: Sequence[str | Path],
    output_dir: str | Path,
    label_interpolation: str,
    points_space: str,
    device: str | torch.device,
) -> None:
    """Carry images, label maps and points of the moving image over to the fixed image.

    Args:
        transform: from fixed to moving, see `sacb_bundle.spatial.read_transform`.
        reference: image on whose grid the results lie, the fixed image as a rule.
        images: to warp by linear interpolation.
        labels: label maps to warp.
        points: CSV or markups, see `sacb_bundle.spatial.with_points_moved`.
        output_dir: folder of the results, which have the names of the files; volumes are written as .nii.gz.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        points_space: "LPS" or "RAS", what the coordinates of a CSV are in.
        device: to compute on.

    Raises:
        InputError: if a file is not what it should be, or the transform is not one of these images. Nothing is
            written then.
    """
    check_label_interpolation(label_interpolation)
    if points_space not in ("LPS", "RAS"):
        raise InputError(f"points_space is {points_space!r}; it must be LPS or RAS.")
    if not images and not labels and not points:
        raise InputError("There is nothing to apply the transform to: name images, labels or points.")
    images, labels, points = (
        [files] if isinstance(files, (str, Path)) else files for files in (images, labels, points)
    )
    volumes = [*images, *labels]
    targets = [Path(output_dir) / f"{volume_name(path)}.nii.gz" for path in volumes]
    targets += [Path(output_dir) / Path(path).name for path in points]
    for path, target in zip([*volumes, *points], targets, strict=True):
        if targets.count(target) > 1:
            raise InputError(f"{path}: another file gives {target}, too; apply the transform to them one by one.")
    check_results(targets, [transform, reference, *volumes, *points])
    whole = read_transform(transform, device)
    grid = read_volume(reference).grid
    if whole.displacement is not None and not whole.displacement.grid.encloses(grid):
        raise InputError(
            f"{reference} has {grid}, which reaches beyond {transform} with {whole.displacement.grid}. Is it another "
            "image's transform?"
        )
    sources = [read_finite(path) for path in images] + [read_label_map(path) for path in labels]
    for path, source in zip(volumes, sources, strict=True):
        if not whole.reaches(grid, source.grid):
            raise InputError(f"{path}: the transform takes no part of {reference} into it. Is it another image's?")
    texts = [with_points_moved(Path(path), partial(moved_points, whole, grid, path), points_space) for path in points]
    with tqdm(total=grid.shape[0], desc="warping", unit="plane", delay=2) as bar:
        result = resample(whole, grid, sources[: len(images)], sources[len(images) :], label_interpolation, bar.update)
    warped = [*result.images, *result.labels]
    for volume, target in zip(warped, targets, strict=False):
        write_volume(volume, target)
    for text, target in zip(texts, targets[len(volumes) :], strict=True):
        with whole_file(target) as unfinished:
            unfinished.write_text(text, encoding="utf-8", newline="")
    for target in targets:
        logger.info("wrote %s", target)


def moved_points(transform: Transform, fixed: Grid, path: str | Path, points: np.ndarray) -> np.ndarray:
    """`warp_points`, with a warning where they leave the fixed image."""
    moved = warp_points(transform, points)
    outside = ~fixed.contains(moved)
    if outside.any():
        logger.warning(
            "%s: %d of %d points end outside the fixed image, where the transform is a guess.",
            path, outside.sum(), len(outside),
        )  # fmt: skip
    return moved
