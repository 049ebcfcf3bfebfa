"""Resample images and label maps on another grid, interpolating each voxel once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InputError
from .displacement_field import DisplacementField, map_affinely
from .grid import Grid
from .sampling import is_inside, sample_by_vote, sample_linear, sample_nearest
from .transform import Transform
from .volume import Volume

# Whole numbers up to this are exact in fp32, in which images are interpolated.
LARGEST_EXACT = 2**24
LABEL_SAMPLERS = {"nearest": sample_nearest, "linear": sample_by_vote}


@dataclass(frozen=True, eq=False)
class Resampled:
    """Images and label maps of the moving image on a grid of the fixed one, in the order in which they were given.

    Attributes:
        images: volumes of (D, H, W), rounded to their own type of integers if fp32 holds each of their values exactly,
            else in fp32.
        labels: volumes of (D, H, W), in the smallest unsigned type that holds their labels.
        displacement: complete transform on the grid, on the CPU.
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
) -> Resampled:
    """Pull images and label maps onto a grid, each voxel interpolated once.

    Outside the source, an image gets its minimum (air in a CT, not water), and a label map 0.

    Args:
        transform: transform from the grid's world to that of the images.
        grid: grid of the results.
        images: images, interpolated linearly.
        labels: label maps, int32.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.

    Returns:
        The images, the label maps and the complete transform on the grid.

    Raises:
        InputError: if `label_interpolation` has another value.
    """
    vectors = torch.empty((3, *grid.shape))

    def slabs() -> Iterator[tuple[slice, torch.Tensor]]:
        for planes in grid.slabs():
            own = grid.positions(planes, transform.device)
            positions = transform(own)
            vectors[:, planes] = (positions - own).cpu()
            yield planes, positions

    warped = resample_at(slabs(), grid, images, labels, label_interpolation)
    return Resampled(warped[: len(images)], warped[len(images) :], DisplacementField(vectors, grid))


def resample_at(
    slabs: Iterable[tuple[slice, torch.Tensor]],
    grid: Grid,
    images: Sequence[Volume],
    labels: Sequence[Volume],
    label_interpolation: str,
) -> list[Volume]:
    """Pull images and label maps onto a grid whose voxels have known positions in them.

    Args:
        slabs: slabs of the grid, and the world coordinates (3, d, H, W) in mm, RAS, of their voxels in the moving
            image, see `Transform.on_slabs`.
        grid: grid of the results.
        images: images, see `resample`.
        labels: label maps, see `resample`.
        label_interpolation: interpolation of label maps, see `resample`.

    Returns:
        The results for the images, then those for the label maps.

    Raises:
        InputError: if `label_interpolation` has another value.
    """
    check_label_interpolation(label_interpolation)
    sample_label = LABEL_SAMPLERS[label_interpolation]
    tasks = [
        Task(volume, torch.float32, _sample_image, float(volume.values.min()), result_dtype(volume.values), grid)
        for volume in images
    ]
    tasks += [
        Task(volume, torch.int32, sample_label, 0, label_dtype(int(volume.values.max())), grid) for volume in labels
    ]
    for planes, positions in slabs:
        for task in tasks:
            task.fill(planes, positions)
    return [Volume(task.result, grid) for task in tasks]


class Task:
    """One image or label map that is being resampled, slab by slab.

    Args:
        source: image or label map to resample.
        dtype: data type to sample it in.
        sample: function from values (D, H, W) and voxel indices (3, d, h, w) to sampled values (d, h, w).
        background: value of voxels outside the source.
        result_dtype: data type of the result.
        grid: grid of the result.
    """

    def __init__(
        self,
        source: Volume,
        dtype: torch.dtype,
        sample: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        background: float,
        result_dtype: np.dtype,
        grid: Grid,
    ) -> None:
        self.source, self.dtype, self.sample, self.background = source, dtype, sample, background
        self.result = np.empty(grid.shape, result_dtype)
        self.values: torch.Tensor | None = None

    def fill(self, planes: slice, positions: torch.Tensor) -> None:
        """Sample the source for a slab of the result.

        Args:
            planes: slice of the d planes of the slab along the first axis of the result.
            positions: world coordinates (3, d, H, W) fp32 of the slab's voxels in the source, in mm, RAS, on the device
                that computes.
        """
        if self.values is None:
            self.values = _to_tensor(self.source.values, self.dtype, positions.device)
        to_index = torch.from_numpy(np.linalg.inv(self.source.grid.affine)).to(positions)
        index = map_affinely(to_index, positions)
        inside = is_inside(index, self.source.grid.shape)
        sampled = torch.where(inside, self.sample(self.values, index), self.background)
        self.result[planes] = (sampled.round() if self.result.dtype.kind in "iu" else sampled).cpu().numpy()


def check_label_interpolation(name: str) -> None:
    """Check the name of an interpolation of label maps.

    Args:
        name: value of the option `label_interpolation`.

    Raises:
        InputError: if it is neither "nearest" nor "linear".
    """
    if not isinstance(name, str) or name not in LABEL_SAMPLERS:
        raise InputError(f'label_interpolation is {name!r}; it must be "nearest" or "linear".')


def _sample_image(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Interpolate one channel (D, H, W) linearly, see `sample_linear`."""
    return sample_linear(values[None], index)[0]


def result_dtype(values: np.ndarray) -> np.dtype:
    """Choose the data type of a warped image.

    Args:
        values: (D, H, W) array of the image before it is warped.

    Returns:
        Its own type, in native byte order, if it is an integer type and fp32 holds each value exactly; otherwise fp32.
    """
    exact = values.dtype.kind in "iu" and max(abs(int(values.min())), abs(int(values.max()))) <= LARGEST_EXACT
    return values.dtype.newbyteorder("=") if exact else np.dtype(np.float32)


def label_dtype(largest: int) -> np.dtype:
    """Choose the data type of a warped label map.

    Args:
        largest: largest label, at least 0.

    Returns:
        The smallest unsigned type that holds it.
    """
    return np.min_scalar_type(largest)


def averaged(volume: Volume, spacing: float) -> Volume:
    """Average an image over blocks of voxels, as large as fit into a spacing.

    Sample a coarser grid from the result: sampled from single voxels, it would be noisy.

    Args:
        volume: image of any type of real numbers.
        spacing: largest side of a block, in mm; an axis of coarser voxels stays as it is.

    Returns:
        The image of the averages, fp32, with one voxel at the centre of each block.
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


def thinned(volume: Volume, most_voxels: int) -> Volume:
    """Keep every n-th voxel along each axis.

    Args:
        volume: volume of any type.
        most_voxels: largest size of the result along each axis.

    Returns:
        The volume of the remaining voxels, in the same position; its values are a view.
    """
    steps = [-(-size // most_voxels) for size in volume.grid.shape]
    values = volume.values[tuple(slice(None, None, step) for step in steps)]
    return Volume(values, Grid(values.shape, volume.grid.affine @ np.diag([*steps, 1.0])))


def _to_tensor(values: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Convert an array of any byte order to a tensor."""
    native = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("="), copy=False))
    if native.dtype in (np.uint16, np.uint32, np.uint64):
        native = native.astype(np.int64 if native.dtype != np.uint16 else np.int32)
    return torch.from_numpy(native).to(device, dtype)
