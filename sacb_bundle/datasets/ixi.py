"""IXI: brains (T1), preprocessed by FreeSurfer; an atlas is the moving image of all pairs."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..spatial import Volume, as_volume
from .download import PARTS, Download, Subject, checked, published_split, read_files
from .orientation import grid_by_anatomy
from .pickles import read_pair_of_arrays

COUNTS = (403, 58, 115)
SIZE, SPACING_MM = (160, 192, 224), 1.0
ATLAS = "atlas"
# Labels of FreeSurfer's aseg in their order, which number the labels of the data set from 1.
ASEG = (
    2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28, 30, 31, 41, 42, 43, 44, 46, 47, 49, 50, 51, 52,
    53, 54, 58, 60, 62, 63, 72, 77, 80, 85, 251, 252, 253, 254, 255,
)  # fmt: skip
EVAL_LABELS = (
    1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 21, 22, 23, 25, 26, 27, 28, 29, 30, 31, 32, 34, 36
)  # fmt: skip
# White matter, right and left; caudate and cerebellar cortex; thalamus and brain stem.
LANDMARKS = {"R": ((21,), (1,)), "A": ((8, 28), (6, 26)), "S": ((7, 27), (13,))}
_PICKLES = {"train": "Train", "val": "Val", "test": "Test"}
_ENDINGS = (".mgz", ".nii.gz", ".nii")
# Start of the names of templates, which recon-all puts, or links, beside the subjects.
_TEMPLATES = "fsaverage"

logger = logging.getLogger(__name__)


def find(raw: Path) -> Download:
    """Find IXI as preprocessed pickles (Train/, Val/, Test/, atlas.pkl), or as folders of FreeSurfer.

    Args:
        raw: folder of the download.

    Returns:
        What was found.

    Raises:
        InputError: if a file is missing, or there are too few subjects.
    """
    return _pickled(raw) if any((raw / part).is_dir() for part in _PICKLES.values()) else _of_freesurfer(raw)


def _pickled(raw: Path) -> Download:
    """Find the pickles, each of an image and a label map, which are aligned and share a grid."""
    paths: dict[str, list[Path]] = {}
    for part, folder in _PICKLES.items():
        if not (raw / folder).is_dir():
            raise InputError(f"{raw / folder}: no such folder; IXI has {', '.join(_PICKLES.values())} and atlas.pkl.")
        paths[part] = sorted((raw / folder).glob("*.pkl"))
        if len(paths[part]) < 2:
            raise InputError(f"{raw / folder}: holds {len(paths[part])} files *.pkl; at least two are needed.")
    if not (raw / "atlas.pkl").is_file():
        raise InputError(f"{raw / 'atlas.pkl'}: no such file; it is the moving image of all pairs.")
    found = tuple(len(paths[part]) for part in PARTS)
    if found != COUNTS:
        logger.warning(
            "IXI: %s subjects were found, not %s.", *("/".join(map(str, three)) for three in (found, COUNTS))
        )
    subjects: dict[str, Subject] = {}
    for path in (raw / "atlas.pkl", *(path for part in PARTS for path in paths[part])):
        if path.stem in subjects:
            raise InputError(f"{path} and {subjects[path.stem].files['image']} have the same name; rename one.")
        subjects[path.stem] = Subject(path.stem, {"image": path, "label": path})
    split = {part: [path.stem for path in paths[part]] for part in PARTS}
    return replace(_download("preprocessed pickles", subjects, split), initial="none", read=_read_pickle)


def _of_freesurfer(raw: Path) -> Download:
    """Find folders SUBJECT with norm and aseg, or SUBJECT/mri with them, one of them called atlas; not fsaverage*."""
    if not (raw / ATLAS).is_dir():
        raise InputError(f"{raw / ATLAS}: no such folder; the atlas is given like a subject, with norm and aseg.")
    folders = [path for path in sorted(raw.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if left_out := [folder.name for folder in folders if folder.name.startswith(_TEMPLATES)]:
        logger.info("IXI: %s left out; templates of FreeSurfer are not subjects.", ", ".join(left_out))
    subjects = {
        folder.name: Subject(folder.name, {"image": _file_of(folder, "norm"), "label": _file_of(folder, "aseg")})
        for folder in folders
        if folder.name not in left_out
    }
    split = published_split([name for name in subjects if name != ATLAS], COUNTS, "IXI")
    return replace(_download("folders of FreeSurfer", subjects, split), read=_read_freesurfer)


def _download(form: str, subjects: dict[str, Subject], split: dict[str, list[str]]) -> Download:
    """Return what both forms have in common."""
    return Download(
        form, list(subjects.values()), split, initial="affine", template=ATLAS, spacing_mm=SPACING_MM, size=SIZE,
        description={"eval_labels": list(EVAL_LABELS)},
    )  # fmt: skip


def _file_of(folder: Path, stem: str) -> Path:
    """Return the path of a volume of FreeSurfer.

    Raises:
        InputError: if it is missing.
    """
    for place in (folder, folder / "mri"):
        for ending in _ENDINGS:
            if (place / f"{stem}{ending}").is_file():
                return place / f"{stem}{ending}"
    raise InputError(f"{folder}: has no {stem} ({', '.join(_ENDINGS)}).")


def _read_pickle(subject: Subject) -> dict[str, Volume]:
    """Read a pickle, whose axes follow from its label map."""
    path = subject.files["image"]
    image, labels = read_pair_of_arrays(path)
    if labels.dtype.kind not in "iuf" or image.shape != labels.shape:
        raise InputError(f"{path}: its label map must hold numbers, and have the shape {image.shape} of the image.")
    grid = grid_by_anatomy(labels, (SPACING_MM,) * 3, LANDMARKS, str(path))
    return checked({"image": as_volume(Volume(image, grid), str(path)), "label": Volume(labels, grid)}, subject)


def _read_freesurfer(subject: Subject) -> dict[str, Volume]:
    """Read norm and aseg, and number the labels as in the data set; others become 0."""
    volumes = read_files(subject)
    labels = volumes["label"].values
    numbers = np.zeros(max(int(labels.max()), *ASEG) + 1, np.int32)
    numbers[list(ASEG)] = np.arange(1, len(ASEG) + 1)
    return volumes | {"label": replace(volumes["label"], values=numbers[labels])}
