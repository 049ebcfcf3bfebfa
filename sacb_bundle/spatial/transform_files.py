"""Read and write transforms in the conventions of other programs.

- An ITK displacement field, NAME.nii.gz: (X, Y, Z, 1, 3) with the intent "vector", displacements in mm with components
  in LPS, from the fixed image to the moving one, as ANTs writes it. ITK applies no displacement beyond its grid.
- An ITK composite, NAME.h5 or NAME.tfm: the displacement field on the network's grid, then the affine transform.
- The field of the Learn2Reg challenge, disp_*.nii.gz: (X, Y, Z, 3), voxel of the moving image minus voxel of the fixed
  image, components in the order of the axes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..errors import InputError
from ..files import whole_file
from .displacement_field import DisplacementField
from .grid import Grid
from .itk import SIGNS, itk_affine, itk_field, of_itk_field, to_ras
from .nifti import NIFTI_ENDINGS, check_nifti, nifti_image, nifti_of_bytes, write_nifti
from .transform import Transform
from .volume import checked_affine
from .volume_files import reading_image

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
# Intent names of position fields, which otherwise look like displacement fields.
POSITIONS = ("Mapping", "NREG_TRANS")
# A power of 2, so that rounded numbers end in zero bits.
RESOLUTION_MM = 2.0**-10


def write_displacement(displacement: DisplacementField, path: Path) -> None:
    """Write an ITK displacement field, rounded to a thousandth of a millimetre.

    Further digits are noise that would double the size of the file and the time to write it.

    Args:
        displacement: displacement field from the fixed image to the moving one.
        path: path of the file, .nii or .nii.gz.

    Raises:
        InputError: if the file cannot be written.
    """
    scaled = displacement.vectors.cpu() * (SIGNS / RESOLUTION_MM).reshape(3, 1, 1, 1)
    vectors = scaled.round_().mul_(RESOLUTION_MM).movedim(0, -1)[..., None, :]
    image = nifti_image(vectors.numpy(), displacement.grid)
    image.header.set_intent("vector")
    write_nifti(image, path)


def write_learn2reg(displacement: DisplacementField, moving: Grid, path: Path) -> None:
    """Write a field of the Learn2Reg challenge.

    Args:
        displacement: complete transform on the fixed grid.
        moving: grid of the moving image.
        path: path of the file, .nii or .nii.gz.

    Raises:
        InputError: if the file cannot be written.
    """
    grid = displacement.grid
    field = displacement.in_voxels_of(moving)
    # Difference between the indices of a world position in the moving image and in the fixed image.
    difference = np.linalg.inv(moving.affine) @ grid.affine - np.diag([1.0, 1, 1, 0])
    for planes in grid.slabs():
        field[:, planes] += Grid(grid.shape, difference).positions(planes, field.device)
    write_nifti(nifti_image(field.movedim(0, -1).cpu().numpy(), grid), path)


def write_composite(transform: Transform, path: Path) -> None:
    """Write a transform as an ITK composite, or as an affine transform if it has no field.

    Args:
        transform: transform from fixed to moving world coordinates.
        path: path of the file, .h5 or .tfm.

    Raises:
        InputError: if the file cannot be written.
    """
    affine = itk_affine(transform.affine)
    result: sitk.Transform = affine
    if transform.displacement is not None:
        field = sitk.DisplacementFieldTransform(itk_field(transform.displacement))
        # The transform added last is applied first.
        result = sitk.CompositeTransform([affine, field])
    with whole_file(path) as unfinished:
        sitk.WriteTransform(result, str(unfinished))
        if path.name.endswith(".tfm") and not _is_whole(unfinished):  # ITK does not report a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_whole(path: Path) -> bool:
    """Return whether an ITK text file has its last line."""
    content = path.read_bytes()
    return content.endswith(b"\n") and content.rstrip().rpartition(b"\n")[2].startswith(b"FixedParameters:")


def read_transform(path: str | Path, device: torch.device | str = "cpu") -> Transform:
    """Read an ITK displacement field (.nii, .nii.gz), or an ITK transform (.h5, .tfm, .mat) with at most one field.

    Args:
        path: path of the file.
        device: device that computes the transform.

    Returns:
        The transform from fixed to moving.

    Raises:
        InputError: if there is no such file, or it holds no supported transform.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    name = path.name.lower()
    if name.endswith(NIFTI_ENDINGS):
        return checked(Transform(displacement=_read_displacement(path, device)), path)
    if not name.endswith(ITK_ENDINGS):
        raise InputError(
            f"{path}: not a transform; displacement fields end in {', '.join(NIFTI_ENDINGS)}, ITK transforms in "
            f"{', '.join(ITK_ENDINGS)}."
        )
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not an ITK transform, or damaged.") from error
    return checked(from_itk(transform, path, device), path)


def checked(transform: Transform, path: Path) -> Transform:
    """Check that the numbers of a transform are finite and its affine part has an inverse.

    Args:
        transform: transform to check.
        path: path of its file, for error messages.

    Returns:
        The same transform.

    Raises:
        InputError: if not.
    """
    if not np.isfinite(transform.affine).all() or np.linalg.matrix_rank(transform.affine) < 4:
        raise InputError(f"{path}: its affine transform has no inverse.")
    if transform.displacement is not None and not transform.displacement.vectors.isfinite().all():
        raise InputError(f"{path}: displacements are NaN or infinite.")
    return transform


def _read_displacement(path: Path, device: torch.device | str) -> DisplacementField:
    """Read an ITK displacement field, (X, Y, Z, 1, 3) in mm, LPS.

    Raises:
        InputError: if the file is damaged, or holds no displacement field.
    """
    with reading_image(path):
        image = nifti_of_bytes(path.read_bytes(), path)
        values = np.asanyarray(image.dataobj)
        check_nifti(image.header, str(path))
    intent = image.header.get_intent()[2]
    if intent in POSITIONS:
        raise InputError(f"{path}: holds positions ({intent}), as from SPM and NiftyReg; displacements are needed.")
    if values.ndim != 5 or values.shape[3:] != (1, 3):
        hint = " It looks like a Learn2Reg field, which does not give the position of the moving image." * (
            values.ndim == 4 and values.shape[3] == 3
        )
        raise InputError(
            f"{path}: not a displacement field; its shape is {values.shape}, but must be (X, Y, Z, 1, 3).{hint}"
        )
    vectors = np.ascontiguousarray(values[:, :, :, 0].transpose(3, 0, 1, 2), dtype=np.float32)
    vectors[:2] *= -1
    return DisplacementField(
        torch.from_numpy(vectors).to(device), Grid(values.shape[:3], checked_affine(image.affine, str(path)))
    )


def from_itk(transform: sitk.Transform, path: Path, device: torch.device | str) -> Transform:
    """Convert an ITK transform of affine transforms, applied after at most one displacement field.

    Args:
        transform: ITK transform from fixed to moving world coordinates in mm, LPS.
        path: path of its file, for error messages.
        device: device of the displacement field.

    Returns:
        The transform from fixed to moving world coordinates in mm, RAS.

    Raises:
        InputError: if it is not 3-D, or holds other transforms.
    """
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: the transform has {transform.GetDimension()} dimensions; 3 are needed.")
    parts = [transform]
    if transform.GetName() == "CompositeTransform":
        composite = sitk.CompositeTransform(transform)
        composite.FlattenTransform()
        parts = [composite.GetNthTransform(number) for number in range(composite.GetNumberOfTransforms())]
    matrix, displacement = np.eye(4), None
    for number, part in enumerate(parts):
        if part.IsLinear():
            matrix = matrix @ to_ras(part)
        elif part.GetName() == "DisplacementFieldTransform" and number == len(parts) - 1:
            displacement = of_itk_field(sitk.DisplacementFieldTransform(part).GetDisplacementField(), device)
        else:
            raise InputError(
                f"{path}: holds a {part.GetName()} at position {number + 1} of {len(parts)}; only affine transforms, "
                "and one displacement field that is applied first, are supported."
            )
    return Transform(matrix, displacement)
