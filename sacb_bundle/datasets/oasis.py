"""OASIS: brains (T1) of Learn2Reg, with 35 structures."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .download import Download, Subject, alignment_needed, learn2reg_subjects, published_split

# The last subjects are those that Learn2Reg validates on; the labels of its test subjects are not public.
COUNTS = (394, 20, 0)
LABELS = range(1, 36)


def find(raw: Path) -> Download:
    """Find the brains of Learn2Reg (imagesTr/), or the same from the folders OASIS_*.

    Args:
        raw: folder of the download.

    Returns:
        What was found.

    Raises:
        InputError: if it holds neither, a file is missing, or there are too few subjects.
    """
    if (raw / "imagesTr").is_dir():
        form = "Learn2Reg"
        subjects = learn2reg_subjects(raw)
    else:
        form = "folders OASIS_*"
        subjects = [_subject_in(folder) for folder in sorted(raw.glob("OASIS_*")) if folder.is_dir()]
    if not subjects:
        raise InputError(f"{raw}: has neither imagesTr/ (Learn2Reg) nor folders OASIS_*.")
    return Download(
        form,
        subjects,
        published_split([subject.name for subject in subjects], COUNTS, "OASIS"),
        initial=alignment_needed(subject.files["image"] for subject in subjects),
        description={"eval_labels": list(LABELS)},
    )


def _subject_in(folder: Path) -> Subject:
    """Return the subject of a folder.

    Raises:
        InputError: if a file is missing.
    """
    files = {"image": folder / "aligned_norm.nii.gz", "label": folder / "aligned_seg35.nii.gz"}
    for path in files.values():
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
    return Subject(folder.name, files)
