"""Convert images in memory, of the types of nibabel, SimpleITK and MONAI, to volumes and back."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from nibabel.freesurfer.mghformat import MGHError
from nibabel.spatialimages import HeaderDataError, SpatialImage

from ..errors import InputError
from ..files import check_path
from .grid import Grid
from .itk import itk_image
from .nifti import nifti_image
from .nifti_header import check_nifti
from .volume import Volume, checked_volume, hint_at_apply
from .volume_files import read_volume, reading_voxels, volume_of_itk

# Classes of nibabel that a result keeps if the input has them, the most specific first.
NIBABEL_TYPES = (nib.Nifti2Image, nib.Nifti1Image, nib.MGHImage)


def as_volume(image: object, name: str) -> Volume:
    """Convert an image to a volume with the voxels and checks of the file that holds it.

    Args:
        image: path (str or Path), nibabel image, SimpleITK.Image, MONAI MetaTensor of shape (1, D, H, W) or (D, H, W)
            with an affine in mm, RAS, or Volume.
        name: role of the image in error messages, such as "moving".

    Returns:
        The volume, with a hash if it was read from a path.

    Raises:
        InputError: if the image is of another type, or for the same reasons as in `read_volume`.

    Example:
        >>> image = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.diag([2.0, 2, 2, 1]))
        >>> as_volume(image, "moving").grid.spacing
        (2.0, 2.0, 2.0)
    """
    if isinstance(image, (str, Path)):
        check_path(image)
        return read_volume(image)
    source = source_name(image, name)
    if isinstance(image, Volume):
        checked_volume(image.values, image.grid.affine, source, image.sha256)
        return image
    if isinstance(image, SpatialImage):
        affine = affine_of_nibabel(image, source)
        with reading_voxels(source):
            values = np.asanyarray(image.dataobj)
        return checked_volume(values, affine, source)
    if isinstance(image, sitk.Image):
        return volume_of_itk(image, source)
    if is_meta_tensor(image):
        values, affine = array_of_meta_tensor(image, source)
        if values.shape[3:] not in ((), (1,)):
            raise InputError(
                f"{source}: has shape {tuple(image.shape)}; one 3-D volume is needed{hint_at_apply(True)}."  # type: ignore[attr-defined]
            )
        return checked_volume(values, affine, source)
    raise unknown_type(image, name)


def in_type_of(image: object, volume: Volume) -> object:
    """Convert a volume to the type of an image, on the grid of the volume.

    Args:
        image: image of a type that `as_volume` takes.
        volume: volume to convert.

    Returns:
        For a nibabel image, a nibabel image of the same class if that is Nifti1Image, Nifti2Image or MGHImage, else a
        Nifti1Image; for a path, a Nifti1Image; for a SimpleITK.Image, one in LPS; for a MetaTensor, one on the CPU with
        the same number of dimensions; for a Volume, the volume itself.

    Raises:
        InputError: if the image is of another type.
    """
    if isinstance(image, Volume):
        return volume
    if isinstance(image, (str, Path, SpatialImage)):
        return nibabel_image(volume.values, volume.grid, nibabel_type(image))
    if isinstance(image, sitk.Image):
        return itk_image(volume)
    if is_meta_tensor(image):
        channels = volume.values[None] if image.ndim == 4 else volume.values  # type: ignore[attr-defined]
        return meta_tensor(image, channels, volume.grid)
    raise unknown_type(image, "given")


def source_name(image: object, name: str) -> str:
    """Return the name of an image in error messages: its path, or its role.

    Args:
        image: path or image in memory.
        name: role of the image, such as "moving".

    Returns:
        The path, or a phrase such as "the moving image".
    """
    return str(image) if isinstance(image, (str, Path)) else f"the {name} image"


def unknown_type(image: object, name: str) -> InputError:
    """Make the error for an image of a type that `as_volume` does not take.

    Args:
        image: the image.
        name: role of the image, such as "moving".

    Returns:
        The error, which is not raised; for an array, its message explains how to add an affine.
    """
    if isinstance(image, (np.ndarray, torch.Tensor, list, tuple)):
        return InputError(
            f"The {name} image is an array without an affine, so its position in the world is unknown; wrap it in "
            "nibabel.Nifti1Image(array, affine)."
        )
    return InputError(
        f"The {name} image is of type {type(image).__name__}; a path, a nibabel image, a SimpleITK.Image, a MONAI "
        "MetaTensor or a Volume is needed."
    )


def affine_of_nibabel(image: SpatialImage, source: str) -> np.ndarray:
    """Check the header of a nibabel image, and return its affine.

    Args:
        image: nibabel image of any class.
        source: name of the image in error messages.

    Returns:
        The 4x4 matrix from voxel indices to world coordinates in mm, RAS.

    Raises:
        InputError: if it has no affine, or lengths are not in mm.
    """
    if image.affine is None:
        raise InputError(f"{source}: has no affine, so its position in the world is unknown.")
    if isinstance(image, nib.Nifti1Pair):
        check_nifti(image.header, source)
    return np.asarray(image.affine)


def nibabel_type(image: object) -> type:
    """Return the class of nibabel for the result of an image.

    Args:
        image: path or nibabel image.

    Returns:
        The first of `NIBABEL_TYPES` that the image belongs to; Nifti1Image for other images and for paths.
    """
    return next((kind for kind in NIBABEL_TYPES if isinstance(image, kind)), nib.Nifti1Image)


def nibabel_image(values: np.ndarray, grid: Grid, kind: type) -> SpatialImage:
    """Make a nibabel image of one of `NIBABEL_TYPES`, in the nearest data type that its format can store.

    Args:
        values: (D, H, W) array, or one with more axes.
        grid: grid of the first three axes.
        kind: class of the result.

    Returns:
        The image, in the data type of the values if the format has it, else int32 if that holds them, else fp32.
    """
    values = _storable(values, kind)
    return nib.MGHImage(values, grid.affine) if kind is nib.MGHImage else nifti_image(values, grid, kind)


def _storable(values: np.ndarray, kind: type) -> np.ndarray:
    """Convert an array to a data type that a format of nibabel can store: its own, else int32, else fp32."""
    header = kind.header_class()  # type: ignore[attr-defined]
    try:
        header.set_data_dtype(values.dtype)
    except (HeaderDataError, MGHError):
        limits = np.iinfo(np.int32)
        fits = values.dtype.kind in "biu" and limits.min <= values.min() and values.max() <= limits.max
        return values.astype(np.int32 if fits else np.float32)
    return values


def is_meta_tensor(image: object) -> bool:
    """Return whether an image is a MetaTensor, without importing MONAI.

    Args:
        image: object of any type.

    Returns:
        True for a MetaTensor; there is none before MONAI has been imported elsewhere.
    """
    module = sys.modules.get("monai.data.meta_tensor")
    return module is not None and isinstance(image, module.MetaTensor)


def array_of_meta_tensor(image: object, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a MetaTensor and its affine.

    Args:
        image: MetaTensor of shape (C, D, H, W) or (D, H, W).
        source: name of the image in error messages.

    Returns:
        (D, H, W, C) or (D, H, W) array, and the 4x4 affine in mm, RAS.

    Raises:
        InputError: if it has another number of dimensions, its channels are not the first of them, or its affine is not
            one of 3-D space in RAS.
    """
    tensor = image.as_tensor().detach().cpu()  # type: ignore[attr-defined]
    affine = np.asarray(image.affine, dtype=np.float64)  # type: ignore[attr-defined]
    if tensor.ndim not in (3, 4):
        raise InputError(f"{source}: has shape {tuple(tensor.shape)}; (C, D, H, W) or (D, H, W) is needed.")
    if tensor.ndim == 4 and _has_channels_last(tensor.shape, image.meta):  # type: ignore[attr-defined]
        raise InputError(
            f"{source}: has shape {tuple(tensor.shape)}, with the channels last; put them first with MONAI's "
            "EnsureChannelFirst."
        )
    if affine.shape != (4, 4):
        raise InputError(f"{source}: its affine has shape {affine.shape}; a 4x4 matrix is needed.")
    if image.meta.get("space") == "LPS":  # type: ignore[attr-defined]
        raise InputError(f"{source}: its affine is in LPS; load it with affine_lps_to_ras=True, since RAS is needed.")
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    values = tensor.numpy()
    return (np.moveaxis(values, 0, -1) if values.ndim == 4 else values), affine


def _has_channels_last(shape: Sequence[int], meta: Mapping[str, Any]) -> bool:
    """Return whether a tensor is as MONAI's LoadImage reads a file of several volumes: (D, H, W, C)."""
    # The metadata stay as they are when EnsureChannelFirst or Resize changes the shape, so the shape counts as well.
    spatial = [int(size) for size in meta.get("spatial_shape", ())][:3]
    return list(shape[:3]) == spatial != list(shape[1:])


def meta_tensor(image: object, values: np.ndarray, grid: Grid) -> object:
    """Make a MetaTensor like another one.

    Args:
        image: MetaTensor whose class the result has.
        values: (C, D, H, W) or (D, H, W) array.
        grid: grid of the last three axes.

    Returns:
        The MetaTensor on the CPU, with the affine of the grid, in mm, RAS. Unsigned integers of 16 bits become
        int32, and those of 32 and 64 bits int64.
    """
    # PyTorch can do little with these types.
    wider = {np.dtype(np.uint16): np.int32, np.dtype(np.uint32): np.int64, np.dtype(np.uint64): np.int64}
    native = values.astype(wider.get(values.dtype, values.dtype.newbyteorder("=")), order="C")
    return type(image)(torch.from_numpy(native), affine=torch.from_numpy(grid.affine.copy()))  # type: ignore[call-arg]
