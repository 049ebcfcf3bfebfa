"""Images and label maps on another grid, each voxel interpolated once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from .displacement_field import map_affinely
from .grid import Grid
from .sampling import is_inside, sample_by_vote, sample_linear, sample_nearest
from .transform import Transform
from .volume import Volume


def resample_image(
    moving: Volume, transform: Transform, grid: Grid, progress: Callable[[int], object] = lambda planes: None
) -> Volume:
    """Image pulled onto a grid by linear interpolation.

    Where the transform leads outside the image, it is its minimum (air in a CT, not water).

    Args:
        moving: the image.
        transform: from the grid's world to the image's.
        grid: of the result.
        progress: is told the number of planes after each slab.

    Returns:
        in the image's own dtype if that is one of integers (rounded) or fp32, else in fp32.
    """
    dtype = moving.values.dtype if moving.values.dtype.kind in "iu" else np.dtype(np.float32)
    values = to_tensor(moving.values, torch.float32, transform.device)[None]
    outside = values.min()
    result = np.empty(grid.shape, dtype)
    for planes, index in indices(moving.grid, transform, grid):
        sampled = torch.where(is_inside(index, moving.grid.shape), sample_linear(values, index)[0], outside)
        result[planes] = (sampled.round() if dtype.kind in "iu" else sampled).cpu().numpy()
        progress(planes.stop - planes.start)
    return Volume(result, grid)


def resample_labels(
    moving: Volume,
    transform: Transform,
    grid: Grid,
    interpolation: str = "nearest",
    progress: Callable[[int], object] = lambda planes: None,
) -> Volume:
    """Label map pulled onto a grid; 0 where the transform leads outside.

    Args:
        moving: the label map, int32.
        transform: from the grid's world to the label map's.
        grid: of the result.
        interpolation: "nearest", or "linear" for the label with the largest linear weight.
        progress: is told the number of planes after each slab.

    Returns:
        in the smallest unsigned type that holds the labels.
    """
    sample = {"nearest": sample_nearest, "linear": sample_by_vote}[interpolation]
    labels = to_tensor(moving.values, torch.int32, transform.device)
    result = np.empty(grid.shape, np.min_scalar_type(int(moving.values.max())))
    for planes, index in indices(moving.grid, transform, grid):
        sampled = torch.where(is_inside(index, moving.grid.shape), sample(labels, index), 0)
        result[planes] = sampled.cpu().numpy()
        progress(planes.stop - planes.start)
    return Volume(result, grid)


def averaged(volume: Volume, spacing: float) -> Volume:
    """Image, fp32, whose voxels are means of blocks of voxels, as large as fit into a spacing in mm.

    It is what to sample for a coarser grid, on which single voxels would be noise.
    """
    factors = [max(1, int(spacing / length + 0.01)) for length in volume.grid.spacing]
    values = volume.values
    for axis, factor in enumerate(factors):
        if factor > 1:
            missing = -values.shape[axis] % factor
            values = np.pad(values, [(0, missing if other == axis else 0) for other in range(3)], mode="edge")
            blocks = (*values.shape[:axis], -1, factor, *values.shape[axis + 1 :])
            values = values.reshape(blocks).mean(axis=axis + 1, dtype=np.float32)
    to_fine = np.diag([*factors, 1.0])
    to_fine[:3, 3] = [(factor - 1) / 2 for factor in factors]
    values = values.astype(np.float32, copy=False)
    return Volume(values, Grid(values.shape, volume.grid.affine @ to_fine))


def indices(source: Grid, transform: Transform, grid: Grid) -> Iterator[tuple[slice, torch.Tensor]]:
    """Slabs of a grid and where their voxels lie in the source, (3, d, H, W) in its voxels."""
    to_index = torch.from_numpy(np.linalg.inv(source.affine)).to(transform.device, torch.float32)
    for planes, positions in transform.on_slabs(grid):
        yield planes, map_affinely(to_index, positions)


def to_tensor(values: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Tensor of an array of any byte order."""
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    if native.dtype in (np.uint16, np.uint32, np.uint64):
        native = native.astype(np.int64 if native.dtype != np.uint16 else np.int32)
    return torch.from_numpy(native).to(device, dtype)
