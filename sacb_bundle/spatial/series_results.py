"""Write warped series frame by frame, or gather them in the type of the input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BufferedIOBase
from itertools import chain
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from nibabel.spatialimages import SpatialHeader, SpatialImage
from nibabel.volumeutils import seek_tell

from ..files import whole_file
from .grid import Grid
from .image_types import in_type_of, is_meta_tensor, meta_tensor, nibabel_image, nibabel_type, unknown_type
from .itk import itk_image, placed
from .nifti import compressing, is_compressed, nifti_image
from .series import NO_AXES, TrailingAxes
from .volume import Volume


def write_series(frames: Iterable[np.ndarray], path: Path, grid: Grid, axes: TrailingAxes = NO_AXES) -> None:
    """Write a NIfTI file frame by frame, with one frame in memory; the file appears only once it is complete.

    A series of one frame without trailing axes gives the same bytes as `write_volume`.

    Args:
        frames: (D, H, W) array of each frame, all of the type of the first.
        path: path of the file, .nii or .nii.gz.
        grid: grid of each frame.
        axes: trailing axes of the array in the file.

    Raises:
        InputError: if the file cannot be written.
        ValueError: if there are more or fewer frames than the axes tell, or they differ in shape or type.
    """
    iterator = _counted(frames, grid, axes)
    first = next(iterator)
    header = _series_header(first.dtype, grid, axes)
    with whole_file(path) as unfinished, open(unfinished, "wb") as file:
        if not is_compressed(path):
            _write_stream(file, header, first, iterator)
            return
        with compressing(file) as stream:
            _write_stream(stream, header, first, iterator)


def series_in_type_of(image: object, frames: Iterable[np.ndarray], grid: Grid, axes: TrailingAxes = NO_AXES) -> object:
    """Gather the frames of a series in the type of an image, see `in_type_of`.

    Args:
        image: image that the series was made from, see `as_series`.
        frames: (D, H, W) array of each frame, all of the type of the first.
        grid: grid of each frame.
        axes: trailing axes of the series.

    Returns:
        An image with the trailing axes of the series. Dimensions above the third and vectors of a SimpleITK.Image, and
        channels of a MetaTensor, are kept as such.

    Raises:
        InputError: if the image is of another type.
        ValueError: if there are more or fewer frames than the axes tell, or they differ in shape or type.
    """
    values = _gathered(frames, grid, axes)
    if isinstance(image, (str, Path, SpatialImage)):
        result = nibabel_image(values, grid, nibabel_type(image))
        describe(result.header, axes)
        return result
    if not axes.shape:
        return in_type_of(image, Volume(values, grid))
    if isinstance(image, sitk.Image):
        return _itk_series(image, values, grid)
    if is_meta_tensor(image):
        return meta_tensor(image, np.moveaxis(values, -1, 0), grid)
    raise unknown_type(image, "given")


def _counted(frames: Iterable[np.ndarray], grid: Grid, axes: TrailingAxes) -> Iterator[np.ndarray]:
    """Yield frames, and check that they are as many and as large as they should be.

    Raises:
        ValueError: otherwise.
    """
    number, dtype = 0, None
    for number, frame in enumerate(frames, start=1):
        dtype = frame.dtype if dtype is None else dtype
        if frame.shape != grid.shape or frame.dtype != dtype or number > axes.num_frames:
            raise ValueError(
                f"Frame {number} of {axes.num_frames} has shape {frame.shape} and type {frame.dtype}; shape "
                f"{grid.shape} and type {dtype} are needed."
            )
        yield frame
    if number < axes.num_frames:
        raise ValueError(f"There are {number} frames; {axes.num_frames} are needed.")


def _gathered(frames: Iterable[np.ndarray], grid: Grid, axes: TrailingAxes) -> np.ndarray:
    """Gather frames in one array (D, H, W, ...)."""
    iterator = _counted(frames, grid, axes)
    first = next(iterator)
    values = np.empty((*grid.shape, *axes.shape), first.dtype, order="F")
    # Frames are stored one after the other.
    flat = values.reshape((*grid.shape, axes.num_frames), order="F")
    for number, frame in enumerate(chain([first], iterator)):
        flat[..., number] = frame
    return values


def _series_header(dtype: np.dtype, grid: Grid, axes: TrailingAxes) -> nib.Nifti1Header:
    """Make the header of a NIfTI file that holds a series."""
    nothing = np.broadcast_to(np.zeros((), dtype), (*grid.shape, *axes.shape))
    header = nifti_image(nothing, grid).header
    describe(header, axes)
    header.set_slope_inter(1, 0)
    return header


def describe(header: SpatialHeader, axes: TrailingAxes) -> None:
    """Write steps, unit and intent of trailing axes into a header of nibabel.

    Args:
        header: header of the array, which is changed in place.
        axes: trailing axes of the array.
    """
    if not axes.shape:
        return
    zooms = header.get_zooms()
    if isinstance(header, nib.Nifti1Header):
        steps = (*axes.steps, *[0.0] * len(axes.shape))[: len(axes.shape)]
        header.set_zooms((*zooms[:3], *steps))
        header.set_xyzt_units("mm", axes.unit)
        code, parameters, name = axes.intent
        header.set_intent(code, parameters, name, allow_unknown=True)
    elif len(zooms) == 4 and axes.unit == "msec":  # FreeSurfer's repetition time
        header.set_zooms((*zooms[:3], axes.steps[0]))


def _write_stream(
    stream: BufferedIOBase, header: nib.Nifti1Header, first: np.ndarray, others: Iterator[np.ndarray]
) -> None:
    """Write a header and frames to a stream, a plane at a time, as nibabel does."""
    header.write_to(stream)
    seek_tell(stream, header.get_data_offset(), write0=True)
    _write_planes(stream, first)
    for frame in others:
        _write_planes(stream, frame)


def _write_planes(stream: BufferedIOBase, frame: np.ndarray) -> None:
    """Write the planes of a frame along its last axis to a stream, the first axis fastest."""
    for plane in frame.T:
        stream.write(plane.tobytes())


def _itk_series(image: sitk.Image, values: np.ndarray, grid: Grid) -> sitk.Image:
    """Make an ITK image like another one that has vectors or more than three dimensions.

    Args:
        image: image that gives the kind of the result, and its position and spacing along the axes after the third.
        values: (D, H, W, ...) array.
        grid: grid of the first three axes.
    """
    is_vector = image.GetNumberOfComponentsPerPixel() > 1
    axis = values.ndim - 1 - is_vector  # the last one that is not of vectors
    if axis > 2:
        parts = [_itk_series(image, values.take(index, axis), grid) for index in range(values.shape[axis])]
        return sitk.JoinSeries(parts, image.GetOrigin()[axis], image.GetSpacing()[axis])
    if not is_vector:
        return itk_image(Volume(values, grid))
    return placed(sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0, 3)), isVector=True), grid)
