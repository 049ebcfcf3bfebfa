"""Any images, with label maps and masks if there are any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data import labels_to_score, read_dataset
from ..files import read_json
from ..spatial import volume_name
from .download import PARTS, Download, Subject, alignment_needed, split_in_shares

# Shares of training, validation and test in percent, if dataset.json states no split.
SHARES = (70, 10, 20)


def find(raw: Path) -> Download:
    """Find images/, labels/ and masks/ (the same names) and dataset.json, of which only images/ must be there.

    Args:
        raw: folder of the data set.

    Returns:
        What was found.

    Raises:
        InputError: if images/ is missing, a label map or a mask has no image, dataset.json is invalid, or there are too
            few subjects.
    """
    subjects, split = listed_subjects(raw)
    labels_to_score(raw)  # so that invalid labels are refused before the work
    return Download(
        "images",
        subjects,
        split or split_in_shares([subject.name for subject in subjects], SHARES),
        initial=alignment_needed(subject.files["image"] for subject in subjects),
        modality="auto",
        description={key: value for key, value in _description(raw).items() if key in ("labels", "eval_labels")},
    )


def listed_subjects(raw: Path) -> tuple[list[Subject], dict[str, list[str]] | None]:
    """List the subjects of a data set folder, see `sacb_bundle.data.read_dataset`.

    Args:
        raw: folder of the data set.

    Returns:
        The subjects, and the names for "train", "val" and "test" if dataset.json states them, else None. If it does,
        only those are listed.

    Raises:
        InputError: as in `read_dataset`.
    """
    dataset = read_dataset(raw)
    parts = {part: getattr(dataset, part) for part in PARTS}
    files = {volume_name(item["image"]): item for items in parts.values() for item in items}
    subjects = [Subject(name, {key: Path(path) for key, path in files[name].items()}) for name in sorted(files)]
    names = {part: [volume_name(item["image"]) for item in items] for part, items in parts.items()}
    return subjects, names if "split" in _description(raw) else None


def _description(raw: Path) -> dict[str, Any]:
    """Return the content of dataset.json, which `read_dataset` has checked; empty if there is none."""
    path = raw / "dataset.json"
    return read_json(path) if path.is_file() else {}
