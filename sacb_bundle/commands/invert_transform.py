"""Invert a transform in a file."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from ..errors import InputError
from ..files import check_results
from ..spatial import (
    NIFTI_ENDINGS,
    Volume,
    inverse_error,
    invert,
    read_transform,
    read_volume,
    volume_name,
    write_displacement,
    write_volume,
)


def invert_transform(
    transform: Path, output: Path, reference: Path | None, device: torch.device, overwrite: bool = False
) -> None:
    """Write the inverse of a transform as an ITK displacement field, and its error as a map beside it.

    The error is the distance, in mm, between each voxel of the transform and its position after transform and inverse.
    A summary is printed, and the map is written to NAME_error.nii.gz.

    Args:
        transform: transform from fixed to moving, see `sacb_bundle.spatial.read_transform`.
        output: path of the inverse, .nii.gz.
        reference: image that defines the grid of the inverse, usually the moving image; None for the transform's grid.
        device: device to compute on.
        overwrite: whether results may replace files.

    Raises:
        InputError: if a file is invalid, the transform maps no voxel into the inverse's grid, or a result would replace
            a file.
    """
    target = output
    if not target.name.lower().endswith(NIFTI_ENDINGS):
        raise InputError(f"output is {output}; the inverse is a displacement field, so its name must end in .nii.gz.")
    error_map = target.with_name(f"{volume_name(target)}_error.nii.gz")
    check_results([target, error_map], [transform, reference] if reference else [transform], overwrite)
    forward = read_transform(transform, device)
    own = None if forward.displacement is None else forward.displacement.grid
    grid = read_volume(reference).grid if reference else own
    if grid is None:
        raise InputError(f"{transform} has no grid; give the moving image as reference.")
    checked = own or grid
    planes = grid.shape[0] + checked.shape[0]
    with tqdm(total=planes, desc="inverting", unit="plane", delay=2) as bar:
        inverse = invert(forward, grid, bar.update)
        error = inverse_error(forward, inverse, checked, bar.update)
    summary = str(error)
    write_displacement(inverse, target)
    write_volume(Volume(error.error, error.grid), error_map)
    print(f"Error of the inverse: {summary}")
