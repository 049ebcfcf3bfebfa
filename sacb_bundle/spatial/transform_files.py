"""Transforms from and to files, in the conventions of those who read them.

- An ITK displacement field, NAME.nii.gz: (X, Y, Z, 1, 3) with the intent "vector", displacements in mm with components
  in LPS, from the fixed image to the moving one, as ANTs writes it. Beyond its grid, ITK takes no displacement.
- An ITK composite, NAME.h5 or NAME.tfm: the displacement field on the network's grid, then the affine transform.
- The field of the Learn2Reg challenge, disp_*.nii.gz: (X, Y, Z, 3), in voxels of the moving image less those of the
  fixed one, components in the order of the axes.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch

from ..errors import InputError
from ..files import whole_file
from .alignment import placed, to_ras
from .displacement_field import DisplacementField
from .grid import RAS_TO_LPS, Grid
from .transform import Transform
from .volume import NIFTI_ENDINGS, checked_affine, nifti_image, read_voxels, write_nifti

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
# Names by which fields of positions go, which otherwise look like displacements.
POSITIONS = ("Mapping", "NREG_TRANS")
# In mm; a power of 2, so that the rounded numbers end in zeros.
RESOLUTION = 2.0**-10
SIGNS = torch.tensor(np.diag(RAS_TO_LPS), dtype=torch.float32)


def write_displacement(displacement: DisplacementField, path: Path) -> None:
    """Write an ITK displacement field, rounded to a thousandth of a millimetre.

    The digits beyond are noise that would double the size of the file and the time to write it.
    """
    scaled = displacement.vectors.cpu() * (SIGNS / RESOLUTION).reshape(3, 1, 1, 1)
    vectors = scaled.round_().mul_(RESOLUTION).movedim(0, -1)[..., None, :]
    image = nifti_image(vectors.numpy(), displacement.grid)
    image.header.set_intent("vector")
    write_nifti(image, path)


def write_learn2reg(displacement: DisplacementField, moving: Grid, path: Path) -> None:
    """Write the whole transform, given as a displacement field on the fixed grid, as Learn2Reg has it."""
    grid = displacement.grid
    field = displacement.in_voxels_of(moving)
    # What lies between the fixed voxel's index and the index of the same place in the moving image.
    difference = np.linalg.inv(moving.affine) @ grid.affine - np.diag([1.0, 1, 1, 0])
    for planes in grid.slabs():
        field[:, planes] += Grid(grid.shape, difference).positions(planes, field.device)
    write_nifti(nifti_image(field.movedim(0, -1).cpu().numpy(), grid), path)


def write_composite(transform: Transform, path: Path) -> None:
    """Write a transform as an ITK composite, .h5 or .tfm, or an affine one by itself."""
    affine = itk_affine(transform.affine)
    result: sitk.Transform = affine
    if transform.displacement is not None:
        vectors = transform.displacement.vectors.cpu().double() * SIGNS.reshape(3, 1, 1, 1)
        array = vectors.permute(3, 2, 1, 0).numpy()
        image = placed(sitk.GetImageFromArray(array, isVector=True), transform.displacement.grid)
        # The one added last is applied first.
        result = sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(image)])
    with whole_file(path) as unfinished:
        sitk.WriteTransform(result, str(unfinished))
        if path.name.endswith(".tfm") and not is_whole(unfinished):  # ITK does not tell of a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_whole(path: Path) -> bool:
    """Whether a text file of ITK has the line it ends with."""
    content = path.read_bytes()
    return content.endswith(b"\n") and content.rstrip().rpartition(b"\n")[2].startswith(b"FixedParameters:")


def itk_affine(matrix: np.ndarray) -> sitk.AffineTransform:
    """ITK transform (LPS) of a 4x4 matrix (RAS)."""
    affine = sitk.AffineTransform(3)
    affine.SetMatrix((RAS_TO_LPS @ matrix[:3, :3] @ RAS_TO_LPS).ravel().tolist())
    affine.SetTranslation((RAS_TO_LPS @ matrix[:3, 3]).tolist())
    return affine


def read_transform(path: str | Path, device: torch.device | str = "cpu") -> Transform:
    """Read an ITK displacement field (.nii, .nii.gz), or an ITK transform (.h5, .tfm, .mat) of at most one field.

    Raises:
        InputError: if there is no such file, or it is none of these.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    name = path.name.lower()
    if name.endswith(NIFTI_ENDINGS):
        return checked(Transform(displacement=read_displacement(path, device)), path)
    if not name.endswith(ITK_ENDINGS):
        raise InputError(
            f"{path}: not a transform; {', '.join(NIFTI_ENDINGS)} hold displacement fields, {', '.join(ITK_ENDINGS)} "
            "ITK transforms."
        )
    try:
        transform = sitk.ReadTransform(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not an ITK transform, or damaged.") from error
    return checked(from_itk(transform, path, device), path)


def checked(transform: Transform, path: Path) -> Transform:
    """The transform, if its numbers are finite and its affine part has an inverse."""
    if not np.isfinite(transform.affine).all() or np.linalg.matrix_rank(transform.affine) < 4:
        raise InputError(f"{path}: its affine transform has no inverse.")
    if transform.displacement is not None and not transform.displacement.vectors.isfinite().all():
        raise InputError(f"{path}: displacements are NaN or infinite.")
    return transform


def read_displacement(path: Path, device: torch.device | str) -> DisplacementField:
    """Read an ITK displacement field."""
    values, affine = read_voxels(path)
    intent = nib.load(path).header.get_intent()[2]  # type: ignore[attr-defined]
    if intent in POSITIONS:
        raise InputError(
            f"{path}: holds positions ({intent}), as SPM and NiftyReg write them; displacements are needed."
        )
    if values.ndim != 5 or values.shape[3:] != (1, 3):
        hint = " It looks like a Learn2Reg field, which does not say where the moving image lies." * (
            values.ndim == 4 and values.shape[3] == 3
        )
        raise InputError(
            f"{path}: not a displacement field: its shape is {values.shape}, that of a field (X, Y, Z, 1, 3).{hint}"
        )
    vectors = np.ascontiguousarray(values[:, :, :, 0].transpose(3, 0, 1, 2), dtype=np.float32)
    vectors[:2] *= -1
    return DisplacementField(torch.from_numpy(vectors).to(device), Grid(values.shape[:3], checked_affine(affine, path)))


def from_itk(transform: sitk.Transform, path: Path, device: torch.device | str) -> Transform:
    """Transform of an ITK one: affine transforms, after at most one displacement field."""
    if transform.GetDimension() != 3:
        raise InputError(f"{path}: a transform of {transform.GetDimension()} dimensions; 3 are needed.")
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
                f"{path}: holds a {part.GetName()} in place {number + 1} of {len(parts)}; only affine transforms, "
                "and one displacement field that is applied first, can be used."
            )
    return Transform(matrix, displacement)


def of_itk_field(image: sitk.Image, device: torch.device | str) -> DisplacementField:
    """Displacement field of an ITK image of vectors."""
    grid = Grid.from_itk(image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    vectors = torch.from_numpy(sitk.GetArrayFromImage(image)).permute(3, 2, 1, 0).float()
    return DisplacementField((vectors * SIGNS.reshape(3, 1, 1, 1)).contiguous().to(device), grid)
