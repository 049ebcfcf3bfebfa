"""What the config apply.json runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import InputError
from ..spatial import (
    check_label_interpolation,
    read_image,
    read_label_map,
    read_transform,
    read_volume,
    resample,
    rewrite_points,
    volume_name,
    warp_points,
    write_volume,
)


def apply_transform(
    transform: str,
    reference: str,
    images: Sequence[str],
    labels: Sequence[str],
    points: Sequence[str],
    output_dir: str,
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
        points: CSV or markups, see `sacb_bundle.spatial.rewrite_points`.
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
    targets = {path: Path(output_dir) / f"{volume_name(path)}.nii.gz" for path in (*images, *labels)}
    targets |= {path: Path(output_dir) / Path(path).name for path in points}
    check_targets(targets, [transform, reference, *images, *labels, *points])
    whole = read_transform(transform, device)
    grid = read_volume(reference).grid
    if whole.displacement is not None and not whole.displacement.grid.encloses(grid):
        raise InputError(
            f"{reference} has {grid}, which reaches beyond {transform} with {whole.displacement.grid}. Is it another "
            "image's transform?"
        )
    moving = {path: (read_image(path) if path in images else read_label_map(path)) for path in (*images, *labels)}
    for path, volume in moving.items():
        if whole.share_inside(grid, volume.grid) == 0:
            raise InputError(f"{path}: the transform takes no part of {reference} into it. Is it another image's?")
    for path in points:
        rewrite_points(Path(path), targets[path], lambda values: warp_points(whole, values), points_space)
    with tqdm(total=grid.shape[0], desc="warping", unit="plane", delay=2) as bar:
        result = resample(
            whole,
            grid,
            [moving[path] for path in images],
            [moving[path] for path in labels],
            label_interpolation,
            bar.update,
        )
    for path, warped in zip((*images, *labels), (*result.images, *result.labels), strict=True):
        write_volume(warped, targets[path])


def check_targets(targets: dict[str, Path], sources: Sequence[str]) -> None:
    """Raise an InputError if two results have the same name, or one that of a file that is read."""
    names = list(targets.values())
    for path, target in targets.items():
        if names.count(target) > 1:
            raise InputError(f"{path}: another file gives {target}, too; apply the transform to them one by one.")
        if any(target.resolve() == Path(source).resolve() for source in sources):
            raise InputError(f"{path}: the result would overwrite {target}; choose another output folder.")
