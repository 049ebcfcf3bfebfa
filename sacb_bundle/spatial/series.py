"""Series of 3-D frames on one grid, such as time series, diffusion and vector images, read one frame at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import SpatialImage

from ..errors import InputError
from .grid import Grid
from .image_types import affine_of_nibabel, array_of_meta_tensor, is_meta_tensor, source_name, unknown_type
from .itk import itk_grid
from .nifti import is_nifti
from .nifti_files import open_nifti, read_nifti_header
from .nifti_header import check_nifti, units_of
from .resampling import check_label_interpolation, label_dtype, resample_at, result_dtype
from .transform import Transform
from .volume import Volume, as_finite, as_label_map, check_real, checked_grid, without_trailing_ones
from .volume_files import read_itk, read_volume, reading_image, reading_voxels


@dataclass(frozen=True)
class TrailingAxes:
    """Axes after the first three of an array, such as time or channels.

    Attributes:
        shape: lengths of the axes; none for a 3-D image.
        steps: distance between neighbouring frames along each axis, in the unit; 0, or left out, if unknown.
        unit: unit of the steps as nibabel names it, such as "sec", "msec" or "unknown".
        intent: code, parameters and name of a NIfTI intent, such as that of a vector image.
    """

    shape: tuple[int, ...] = ()
    steps: tuple[float, ...] = ()
    unit: str = "unknown"
    intent: tuple[int, tuple[float, ...], str] = (0, (), "")

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return int(np.prod(self.shape, dtype=int))

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Number the frames along the axes, the first axis fastest, as NIfTI stores them.

        Yields:
            Index of each frame along the axes; one empty tuple for a 3-D image.
        """
        for number in range(self.num_frames):
            yield tuple(int(index) for index in np.unravel_index(number, self.shape, order="F")) if self.shape else ()


NO_AXES = TrailingAxes()


@dataclass(frozen=True, eq=False)
class Series:
    """3-D frames on one grid, which are read one at a time.

    Attributes:
        grid: grid of each frame.
        axes: trailing axes of the array that holds the frames.
        name: name of the image in error messages.
        opened: function that opens the (D, H, W, ...) array of all frames, which need not be in memory.
    """

    grid: Grid
    axes: TrailingAxes
    name: str
    opened: Callable[[], AbstractContextManager[Any]]

    def __len__(self) -> int:
        return self.axes.num_frames

    def frames(self, labels: bool = False) -> Iterator[Volume]:
        """Read the frames in order, from the first one each time, and check each of them.

        Args:
            labels: whether the frames are label maps, which are given as int32.

        Yields:
            Volume of each frame, on the grid of the series.

        Raises:
            InputError: if a frame is damaged or does not pass `as_finite`, or `as_label_map` for labels.
        """
        check = as_label_map if labels else as_finite
        for number, values in enumerate(self._arrays()):
            name = f"{self.name}, frame {number + 1}" if self.axes.shape else self.name
            yield check(Volume(values, self.grid), name)

    def _arrays(self) -> Iterator[np.ndarray]:
        """Read the (D, H, W) arrays of the frames."""
        with reading_voxels(self.name), self.opened() as array:
            for index in self.axes.indices():
                values = np.asanyarray(array[(slice(None), slice(None), slice(None), *index)])
                yield values.reshape(self.grid.shape)


def as_series(image: object, name: str) -> Series:
    """Convert an image of one or more 3-D frames to a series.

    Frames of a NIfTI file are read when they are asked for. Other files are read whole.

    Args:
        image: image of a type that `as_volume` takes, with any number of trailing axes: a NIfTI file or nibabel image
            of shape (D, H, W, ...), a SimpleITK image of more than three dimensions or of vectors, or a MetaTensor of
            shape (C, D, H, W). Trailing axes of length 1 at the end are dropped.
        name: role of the image in error messages, such as "moving".

    Returns:
        The series, whose voxels are checked as its frames are read.

    Raises:
        InputError: if the image is of another type, it is damaged, its voxels are not real numbers, its frames are not
            3-D, or the axes of its affine are not at right angles.
    """
    source = source_name(image, name)
    if isinstance(image, (str, Path)):
        return _read_series(Path(image))
    if isinstance(image, Volume):
        return _series_of_array(image.values, image.grid.affine, source)
    if isinstance(image, SpatialImage):
        affine = affine_of_nibabel(image, source)
        axes = _axes_of_header(image.header, image.shape)
        return _series_of_array(_forward_only(image.dataobj), affine, source, axes)
    if isinstance(image, sitk.Image):
        return _series_of_itk(image, source)
    if is_meta_tensor(image):
        return _series_of_array(*array_of_meta_tensor(image, source), source)
    raise unknown_type(image, name)


def _read_series(path: Path) -> Series:
    """Open a file of one or more 3-D frames, see `as_series`."""
    with reading_image(path):
        if not is_nifti(path):
            return _series_of_itk(read_itk(path), str(path))
        header = read_nifti_header(path)
        shape = header.get_data_shape()
        if len(without_trailing_ones(shape)) <= 3:
            volume = read_volume(path)
            return _series_of_array(volume.values, volume.grid.affine, str(path))
        check_nifti(header, str(path))
        opened = partial(open_nifti, path)
        return _checked_series(
            shape, header.get_data_dtype(), header.get_best_affine(), str(path), _axes_of_header(header, shape), opened
        )


def _forward_only(array: Any) -> Any:
    """Let an array that nibabel reads from a file keep the file open, so that frames in order decompress it once."""
    if type(array) is not ArrayProxy or not isinstance(array.file_like, (str, Path)):
        return array
    spec = (array.shape, array.dtype, array.offset, array.slope, array.inter)
    return ArrayProxy(array.file_like, spec, mmap=False, order=array.order, keep_file_open=True)


def _series_of_itk(image: sitk.Image, name: str) -> Series:
    """Convert an ITK image of three or more dimensions, with one value or a vector per voxel."""
    if image.GetDimension() < 3:
        raise InputError(f"{name}: has {image.GetDimension()} dimensions; 3-D volumes are needed.")
    array = sitk.GetArrayFromImage(image)
    # ITK's axes come in reverse order, except for that of channels.
    array = np.moveaxis(array, -1, 0).transpose() if image.GetNumberOfComponentsPerPixel() > 1 else array.transpose()
    steps = tuple(image.GetSpacing()[3:]) + (0.0,) * (array.ndim - image.GetDimension())
    return _series_of_array(array, itk_grid(image).affine, name, TrailingAxes(array.shape[3:], steps))


def _series_of_array(array: Any, affine: np.ndarray, name: str, axes: TrailingAxes | None = None) -> Series:
    """Make a series of a (D, H, W, ...) array that can be indexed, see `_checked_series`."""
    axes = axes or TrailingAxes(array.shape[3:], (0.0,) * len(array.shape[3:]))
    return _checked_series(array.shape, array.dtype, affine, name, axes, lambda: nullcontext(array))


def _checked_series(
    shape: tuple[int, ...],
    dtype: np.dtype,
    affine: np.ndarray,
    name: str,
    axes: TrailingAxes,
    opened: Callable[[], AbstractContextManager[Any]],
) -> Series:
    """Make a series, and check what is known before its voxels are read.

    Args:
        shape: shape (D, H, W, ...) of the array.
        dtype: data type that is stored.
        affine: 4x4 matrix from voxel indices to world coordinates, in mm, RAS.
        name: name of the image in error messages.
        axes: trailing axes of the array; those of length 1 at the end are dropped.
        opened: function that opens the array.

    Raises:
        InputError: if the voxels are not real numbers, there is no 3-D frame, or the axes of the affine are not at
            right angles.
    """
    check_real(dtype, name)
    if 0 in shape:
        raise InputError(f"{name}: has shape {shape}, which is empty; at least one 3-D volume is needed.")
    grid = checked_grid(shape[:3], affine, name)
    length = len(without_trailing_ones(shape)) - 3
    axes = replace(axes, shape=tuple(axes.shape[:length]), steps=tuple(axes.steps[:length])) if length else NO_AXES
    return Series(grid, axes, name, opened)


def _axes_of_header(header: Any, shape: tuple[int, ...]) -> TrailingAxes:
    """Return the trailing axes of an array of a shape, as a header of nibabel describes them."""
    steps = tuple(abs(float(step)) for step in header.get_zooms()[3:])
    steps = (*steps, *[0.0] * len(shape))[: max(0, len(shape) - 3)]
    if isinstance(header, nib.Nifti1Header):
        code, parameters, name = header.get_intent("code")
        return TrailingAxes(shape[3:], steps, units_of(header)[1], (code, parameters, name))
    return TrailingAxes(shape[3:], steps, "msec" if isinstance(header, nib.MGHImage.header_class) else "unknown")


def series_dtype(series: Series, labels: bool = False) -> np.dtype:
    """Read and check every frame, and return the data type of the warped series.

    Args:
        series: images or label maps.
        labels: whether the frames are label maps.

    Returns:
        For label maps, the smallest unsigned type that holds all labels. For images, their own type if it is an integer
        type and fp32 holds each value exactly, as it does for 8 and 16 bits; otherwise fp32.

    Raises:
        InputError: for the same reasons as in `Series.frames`.
    """
    if labels:
        return label_dtype(max(int(frame.values.max()) for frame in series.frames(labels)))
    dtypes = {result_dtype(frame.values) for frame in series.frames()}
    return dtypes.pop() if len(dtypes) == 1 else np.dtype(np.float32)


def warp_series(
    transform: Transform,
    grid: Grid,
    series: Series,
    labels: bool = False,
    label_interpolation: str = "nearest",
    dtype: np.dtype | None = None,
) -> Iterator[np.ndarray]:
    """Pull the frames of a series onto a grid, one at a time, each as in `resample`.

    Vectors are not reoriented: their components are warped as images.

    Args:
        transform: transform from the grid's world to that of the series.
        grid: grid of the results.
        series: images or label maps.
        labels: whether the frames are label maps.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        dtype: data type of the results; by default, that of `series_dtype`, which reads the series once more.

    Yields:
        (D, H, W) array of each frame, on the grid.

    Raises:
        InputError: if `label_interpolation` has another value, or for the same reasons as in `Series.frames`.
    """
    check_label_interpolation(label_interpolation)
    if dtype is None:
        dtype = series_dtype(series, labels)
    slabs: Iterable[tuple[slice, torch.Tensor]] = transform.on_slabs(grid)
    if len(series) > 1:
        slabs = list(slabs)  # every frame has the same positions
    for frame in series.frames(labels):
        if dtype.kind == "f":
            frame = replace(frame, values=frame.values.astype(np.float32))
        kinds = ([], [frame]) if labels else ([frame], [])
        (warped,) = resample_at(slabs, grid, *kinds, label_interpolation)
        yield warped.values.astype(dtype, copy=False)
