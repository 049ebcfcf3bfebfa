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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from ..errors import InputError
from ..files import check_file, whole_file
from .displacement_field import DisplacementField
from .grid import RAS_TO_LPS, Grid
from .itk import SIGNS, itk_affine, itk_field, itk_path, of_itk_field, to_ras
from .itk_transforms import read_itk_transforms
from .nifti import NIFTI_ENDINGS, is_nifti, nifti_image, write_nifti
from .nifti_files import read_nifti
from .transform import Transform
from .volume import check_real, checked_affine
from .volume_files import reading_image

ITK_ENDINGS = (".h5", ".hdf5", ".tfm", ".txt", ".mat")
# Intent names of position fields, which otherwise look like displacement fields.
POSITIONS = ("Mapping", "NREG_TRANS")
# Displacements in RAS by the NIfTI standard; ITK reads them in the same way.
DISPVECT = 1006
# Intents of displacement fields: none, NIfTI's own, and vector, with which ITK writes them in LPS.
INTENTS = (0, DISPVECT, 1007)
# Largest strain of positions: that of lengths that change by half along each axis.
LARGEST_STRAIN = 0.7
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
        sitk.WriteTransform(result, itk_path(unfinished))
        if path.name.lower().endswith(".tfm") and not _is_whole(unfinished):  # ITK does not report a full disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_whole(path: Path) -> bool:
    """Return whether an ITK text file has its last line."""
    content = path.read_bytes()
    return content.endswith(b"\n") and content.rstrip().rpartition(b"\n")[2].startswith(b"FixedParameters:")


def read_transform(path: str | Path, device: torch.device | str = "cpu") -> Transform:
    """Read an ITK displacement field (.nii, .nii.gz), or an ITK transform (.h5, .tfm, .mat) with at most one field.

    A truncated file, or one whose vectors are positions, is refused.

    Args:
        path: path of the file.
        device: device that computes the transform.

    Returns:
        The transform from fixed to moving.

    Raises:
        InputError: if there is no such file, or it holds no supported transform.
    """
    path = Path(path)
    check_file(path)
    if is_nifti(path):
        return checked(Transform(displacement=_read_displacement(path, device)), path)
    if not path.name.lower().endswith(ITK_ENDINGS):
        raise InputError(
            f"{path}: not a transform; displacement fields end in {', '.join(NIFTI_ENDINGS)}, ITK transforms in "
            f"{', '.join(ITK_ENDINGS)}."
        )
    return checked(from_itk(read_itk_transforms(path), path, device), path)


def checked(transform: Transform, path: Path) -> Transform:
    """Check that the numbers of a transform are finite and its affine part has an inverse.

    Args:
        transform: transform to check.
        path: path of its file, for error messages.

    Returns:
        The same transform.

    Raises:
        InputError: if a number is not finite, or the affine part has no inverse.
    """
    if not np.isfinite(transform.affine).all() or np.linalg.matrix_rank(transform.affine) < 4:
        raise InputError(f"{path}: its affine transform has no inverse.")
    if transform.displacement is not None and not transform.displacement.vectors.isfinite().all():
        raise InputError(f"{path}: displacements are NaN or infinite.")
    if transform.displacement is not None and _are_positions(transform.displacement):
        raise InputError(
            f"{path}: its vectors are positions, not displacements: they follow the positions of the voxels. Subtract "
            "these, in mm, LPS."
        )
    return transform


def _are_positions(displacement: DisplacementField) -> bool:
    """Return whether vectors make sense as positions of voxels (mm in LPS or RAS, or voxel indices), not as shifts.

    The linear part of the resulting transform decides: it is near a rotation for the correct reading. Displacements
    read as positions give a linear part near zero, and positions read as displacements one that doubles every length.
    """
    grid = displacement.grid
    axes = [np.unique(np.linspace(0, size - 1, 9).astype(int)) for size in grid.shape]
    indices = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = displacement.vectors[:, indices[:, 0], indices[:, 1], indices[:, 2]].T.double().cpu().numpy()
    points = grid.to_world(indices)
    slope = np.linalg.lstsq(points - points.mean(axis=0), vectors - vectors.mean(axis=0), rcond=None)[0].T
    as_positions = min(map(_strain, (slope, RAS_TO_LPS @ slope, grid.affine[:3, :3] @ RAS_TO_LPS @ slope)))
    return as_positions < min(LARGEST_STRAIN, _strain(np.eye(3) + slope))


def _strain(matrix: np.ndarray) -> float:
    """Return how far a 3x3 matrix is from a rotation: the norm of the logarithms of its singular values."""
    lengths = np.linalg.svd(matrix, compute_uv=False)
    if lengths.min() <= 0 or np.linalg.det(matrix) <= 0:
        return np.inf
    return float(np.linalg.norm(np.log(lengths)))


def _read_displacement(path: Path, device: torch.device | str) -> DisplacementField:
    """Read an ITK displacement field, (X, Y, Z, 1, 3) in mm, LPS.

    Raises:
        InputError: if the file is damaged, or holds no displacement field.
    """
    with reading_image(path):
        header, values, _ = read_nifti(path)
    code, _, name = header.get_intent("code")
    if name in POSITIONS:
        raise InputError(f"{path}: holds positions ({name}), as from SPM and NiftyReg; displacements are needed.")
    if values.ndim != 5 or values.shape[3:] != (1, 3):
        hint = " It looks like a Learn2Reg field, which does not give the position of the moving image." * (
            values.ndim == 4 and values.shape[3] == 3
        )
        raise InputError(
            f"{path}: not a displacement field; its shape is {values.shape}, but must be (X, Y, Z, 1, 3).{hint}"
        )
    if code not in INTENTS:
        raise InputError(f"{path}: not a displacement field: its intent has the code {code}; 1007 (vector) is needed.")
    check_real(values.dtype, str(path))
    with np.errstate(all="ignore"):  # for vectors that are infinite or NaN, which are refused later
        vectors = np.array(values[:, :, :, 0].transpose(3, 0, 1, 2), dtype=np.float32, order="C")
        if code != DISPVECT:
            vectors[:2] *= -1
    return DisplacementField(
        torch.from_numpy(vectors).to(device),
        Grid(values.shape[:3], checked_affine(header.get_best_affine(), str(path))),
    )


def from_itk(parts: Sequence[sitk.Transform], path: Path, device: torch.device | str) -> Transform:
    """Convert ITK transforms: affine ones, applied after at most one displacement field.

    Args:
        parts: ITK transforms from fixed to moving world coordinates in mm, LPS; the last one is applied first.
        path: path of their file, for error messages.
        device: device of the displacement field.

    Returns:
        The transform from fixed to moving world coordinates in mm, RAS.

    Raises:
        InputError: if there are others, or one is not 3-D.
    """
    matrix, displacement = np.eye(4), None
    for number, part in enumerate(parts, start=1):
        if part.GetDimension() != 3:
            raise InputError(f"{path}: the transform has {part.GetDimension()} dimensions; 3 are needed.")
        if part.IsLinear():
            matrix = matrix @ to_ras(part)
        elif part.GetName() == "DisplacementFieldTransform" and number == len(parts):
            displacement = of_itk_field(sitk.DisplacementFieldTransform(part).GetDisplacementField(), device)
        else:
            raise InputError(
                f"{path}: holds a {part.GetName()} at position {number} of {len(parts)}; only affine transforms, "
                "and one displacement field that is applied first, are supported."
            )
    return Transform(matrix, displacement)
