"""Images and label maps on another grid, each voxel interpolated once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from .displacement_field import DisplacementField, map_affinely
from .grid import Grid
from .sampling import is_inside, sample_by_vote, sample_linear, sample_nearest
from .transform import Transform
from .volume import Volume

# Whole numbers up to it are exact in fp32, which interpolates.
LARGEST_EXACT = 2**24
LABEL_SAMPLERS = {"nearest": sample_nearest, "linear": sample_by_vote}


@dataclass(frozen=True, eq=False)
class Resampled:
    """What lay in the moving image, on a grid of the fixed one, in the order that it was given.

    Attributes:
        images: rounded to their own type of number if that is one of integers, and none is too large for fp32 to hold
            it exactly; else in fp32.
        labels: in the smallest unsigned type that holds them.
        displacement: the whole transform on the grid, on the CPU.
    """

    images: list[Volume]
    labels: list[Volume]
    displacement: DisplacementField


def resample(
    transform: Transform,
    grid: Grid,
    images: Sequence[Volume] = (),
    labels: Sequence[Volume] = (),
    label_interpolation: str = "nearest",
    progress: Callable[[int], object] = lambda planes: None,
) -> Resampled:
    """Pull images and label maps onto a grid, each voxel interpolated once.

    Where the transform leads outside, an image is its minimum (air in a CT, not water), and a label map 0.

    Args:
        transform: from the grid's world to that of the images.
        grid: of the results.
        images: interpolated linearly.
        labels: label maps, int32.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        progress: is told the number of planes after each slab.
    """
    check_label_interpolation(label_interpolation)
    device = transform.device
    sources = [*images, *labels]
    tensors = [to_tensor(volume.values, torch.float32, device) for volume in images]
    tensors += [to_tensor(volume.values, torch.int32, device) for volume in labels]
    outside = [float(volume.values.min()) for volume in images] + [0 for _ in labels]
    sample_label = LABEL_SAMPLERS[label_interpolation]
    samplers = [sample_image for _ in images] + [sample_label for _ in labels]
    dtypes = [result_dtype(volume) for volume in images]
    dtypes += [np.min_scalar_type(int(volume.values.max())) for volume in labels]
    results = [np.empty(grid.shape, dtype) for dtype in dtypes]
    vectors = torch.empty((3, *grid.shape))
    for planes in grid.slabs():
        own = grid.positions(planes, device)
        positions = transform(own)
        vectors[:, planes] = (positions - own).cpu()
        for source, tensor, background, sample, result in zip(
            sources, tensors, outside, samplers, results, strict=True
        ):
            to_index = torch.from_numpy(np.linalg.inv(source.grid.affine)).to(positions)
            index = map_affinely(to_index, positions)
            sampled = torch.where(is_inside(index, source.grid.shape), sample(tensor, index), background)
            result[planes] = (sampled.round() if result.dtype.kind in "iu" else sampled).cpu().numpy()
        progress(planes.stop - planes.start)
    warped = [Volume(result, grid) for result in results]
    return Resampled(warped[: len(images)], warped[len(images) :], DisplacementField(vectors, grid))


def check_label_interpolation(name: str) -> None:
    """Raise an InputError unless label maps can be interpolated so."""
    if name not in LABEL_SAMPLERS:
        raise InputError(f'label_interpolation is {name!r}; it must be "nearest" or "linear".')


def sample_image(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """`sample_linear` of one channel, (D, H, W)."""
    return sample_linear(values[None], index)[0]


def result_dtype(image: Volume) -> np.dtype:
    """Type of number of a warped image."""
    values = image.values
    exact = values.dtype.kind in "iu" and max(abs(int(values.min())), abs(int(values.max()))) <= LARGEST_EXACT
    return values.dtype.newbyteorder("=") if exact else np.dtype(np.float32)


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


def to_tensor(values: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Tensor of an array of any byte order."""
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    if native.dtype in (np.uint16, np.uint32, np.uint64):
        native = native.astype(np.int64 if native.dtype != np.uint16 else np.int32)
    return torch.from_numpy(native).to(device, dtype)
