"""LPBA40: brains (T1), skull-stripped, with 56 structures delineated; all ordered pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import InputError
from ..spatial import NIFTI_ENDINGS, Volume, canonical
from .download import Download, Subject, alignment_needed, published_split, read_files
from .orientation import grid_by_anatomy

COUNTS = (25, 5, 10)
SIZE, SPACING_MM = (160, 192, 160), 1.0
# Lobes, insulae, cingulate gyri, caudates, putamina and hippocampi; not cerebellum and brain stem (181, 182).
EVAL_LABELS = tuple(
    label
    for first, last in ((21, 34), (41, 50), (61, 68), (81, 92), (101, 102), (121, 122), (161, 166))
    for label in range(first, last + 1)
)
# Even labels are right; frontal and occipital lobes; superior parietal and inferior temporal gyri.
LANDMARKS = {
    "R": (EVAL_LABELS[1::2], EVAL_LABELS[::2]), "A": (range(21, 35), range(61, 69)), "S": ((43, 44), (85, 86)),
}  # fmt: skip
_IMAGE, _LABEL = "delineation.skullstripped", "delineation.structure.label"
_ENDINGS = (".hdr", *NIFTI_ENDINGS)


def find(raw: Path) -> Download:
    """Find the skull-stripped images and label maps in delineation space, in folders S01 to S40.

    Args:
        raw: folder that holds those folders, or delineation_space/ with them.

    Returns:
        What was found.

    Raises:
        InputError: if a file is missing, or there are too few subjects.
    """
    root = raw / "delineation_space" if (raw / "delineation_space").is_dir() else raw
    folders = sorted(path for path in root.glob("S[0-9][0-9]") if path.is_dir())
    subjects = [
        Subject(folder.name, {"image": _file_of(folder, _IMAGE), "label": _file_of(folder, _LABEL)})
        for folder in folders
    ]
    if not subjects:
        raise InputError(f"{root}: holds no folders S01 to S40.")
    images = [subject.files["image"] for subject in subjects]
    in_analyze = any(path.suffix == ".hdr" for path in images)
    return Download(
        "delineation space",
        subjects,
        published_split([subject.name for subject in subjects], COUNTS, "LPBA40"),
        initial="affine" if in_analyze else alignment_needed(images),
        spacing_mm=SPACING_MM,
        size=SIZE,
        description={"eval_labels": list(EVAL_LABELS)},
        read=_read,
    )


def _file_of(folder: Path, kind: str) -> Path:
    """Return the path of the image or the label map of a subject.

    Raises:
        InputError: if it is missing.
    """
    paths = [folder / f"{folder.name}.{kind}{ending}" for ending in _ENDINGS]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise InputError(f"{paths[0]}: no such file, nor as {' or '.join(NIFTI_ENDINGS)}.")
    if found.suffix == ".hdr" and not found.with_suffix(".img").is_file():
        raise InputError(f"{found.with_suffix('.img')}: no such file; it holds the voxels of {found.name}.")
    return found


def _read(subject: Subject) -> dict[str, Volume]:
    """Read a subject, with axes closest to RAS; files of Analyze hold no position, so theirs follow from the labels."""
    volumes, path = read_files(subject), subject.files["label"]
    if path.suffix == ".hdr":
        labels = volumes["label"]
        grid = grid_by_anatomy(labels.values, labels.grid.spacing, LANDMARKS, str(path))
        volumes = {key: replace(volume, grid=grid) for key, volume in volumes.items()}
    return {key: canonical(volume) for key, volume in volumes.items()}
