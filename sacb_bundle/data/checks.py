"""Checks of every file before long work starts."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError

from ..errors import InputError
from ..spatial import Grid

LARGEST_LABEL = 2**24


def check_subjects(subjects: Iterable[Mapping[str, str]]) -> None:
    """Check that images are images, labels are labels, and all share one grid.

    Args:
        subjects: each with "image" and optionally "label", paths.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    reference: tuple[str, Grid] | None = None
    for subject in subjects:
        grid = check_image(subject["image"])
        reference = reference or (subject["image"], grid)
        check_same_grid(subject["image"], grid, *reference)
        if "label" in subject:
            check_same_grid(subject["label"], check_label(subject["label"]), subject["image"], grid)


def check_pairs(pairs: Iterable[Mapping[str, str]], require_labels: bool = False) -> None:
    """Check that each pair, with its labels, shares one grid.

    Args:
        pairs: each with "moving", "fixed" and optionally "seg_moving" and "seg_fixed", paths.
        require_labels: whether both label maps must be there.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    grids: dict[str, Grid] = {}
    for pair in pairs:
        for key in ("fixed", "moving", "seg_moving", "seg_fixed"):
            path = pair.get(key)
            if path is None:
                if require_labels:
                    raise InputError(f"{pair['moving']} to {pair['fixed']}: no {key}; scoring needs both label maps.")
                continue
            if path not in grids:
                grids[path] = check_label(path) if key.startswith("seg") else check_image(path)
            check_same_grid(path, grids[path], pair["fixed"], grids[pair["fixed"]])


def check_same_grid(path: str, grid: Grid, reference_path: str, reference: Grid) -> None:
    """Raise an InputError unless both grids coincide."""
    if not grid.coincides_with(reference):
        raise InputError(
            f"{path} has {grid}, but {reference_path} has {reference}. "
            "Both must lie on one grid: resample one onto the other first."
        )


def check_image(path: str) -> Grid:
    """Grid of an image that is 3-D, finite and not constant."""
    grid, values = read_volume(path)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {np.count_nonzero(~np.isfinite(values))} voxels are NaN or infinite.")
    if values.min() == values.max():
        raise InputError(f"{path}: every voxel is {values.flat[0]:g}; a constant image cannot be registered.")
    return grid


def check_label(path: str) -> Grid:
    """Grid of a label map that is 3-D and holds integers."""
    grid, values = read_volume(path)
    if not np.isfinite(values).all():
        raise InputError(f"{path}: a label map holds whole numbers from 0; this file has NaN or infinite ones.")
    if values.max() > LARGEST_LABEL:
        raise InputError(
            f"{path}: label {values.max():g} is too large; fp32 holds whole numbers up to {LARGEST_LABEL}."
        )
    if not np.array_equal(values, np.round(values)) or values.min() < 0:
        raise InputError(
            f"{path}: a label map holds whole numbers from 0; "
            f"this file has others, from {values.min():g} to {values.max():g}."
        )
    return grid


def read_volume(path: str) -> tuple[Grid, np.ndarray]:
    """Grid and voxels of a NIfTI file with one 3-D volume; trailing axes of length 1 are dropped."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file.")
    try:
        image = nib.load(path)
        values = np.asanyarray(image.dataobj)  # type: ignore[attr-defined]
        if path.endswith(".gz"):
            read_to_the_end(path)
    except ImageFileError as error:
        raise InputError(f"{path}: not a NIfTI file.") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read.") from error
    except (EOFError, OSError, zlib.error, ValueError) as error:
        raise InputError(f"{path}: the file is damaged or cut short.") from error
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: its voxels are of type {values.dtype}; real numbers are needed.")
    shape = values.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 1 in shape:
        raise InputError(f"{path}: has shape {values.shape}; one 3-D volume is needed.")
    affine = image.affine  # type: ignore[attr-defined]
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine[:3, :3]) < 3:
        raise InputError(f"{path}: its affine has no inverse, so that voxels have no place in the world.")
    return Grid(shape, affine), values.reshape(shape)


def read_to_the_end(path: str) -> None:
    """Read a gzip file whole, which compares its checksum; nibabel stops at the last voxel."""
    with gzip.open(path) as stream:
        while stream.read(2**20):
            pass


def check_labels(labels: Iterable[int], subjects: Iterable[Mapping[str, str]]) -> None:
    """Check that at least one of the labels to score occurs in the label maps, if there are any.

    Args:
        labels: label values to score.
        subjects: see `label_values`.

    Raises:
        InputError: says which labels there are.
    """
    wanted, present = set(labels), set[int]()
    for path in label_files(subjects):
        present |= values_of(path)
        if wanted & present:
            return
    if present:
        raise InputError(f"labels is {sorted(wanted)}, but the label maps hold only {sorted(present)}.")


def label_values(subjects: Iterable[Mapping[str, str]]) -> list[int]:
    """Label values other than 0 that occur in the label maps of subjects ("label") or pairs ("seg_fixed")."""
    return sorted(set[int]().union(*map(values_of, label_files(subjects))))


def label_files(subjects: Iterable[Mapping[str, str]]) -> list[str]:
    """Label maps of subjects ("label") or pairs ("seg_fixed"), each once."""
    return sorted({subject[key] for subject in subjects for key in ("label", "seg_fixed") if key in subject})


def values_of(path: str) -> set[int]:
    """Label values other than 0 in a label map."""
    return set(np.unique(read_volume(path)[1]).astype(int).tolist()) - {0}
