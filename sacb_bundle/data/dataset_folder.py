"""A data set in a folder: images/, optional labels/ and masks/, optional dataset.json."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..files import read_json, reading
from ..spatial import VOLUME_ENDINGS, is_label, volume_name

Item = TypeVar("Item")

# Folders of the files that a subject may have besides its image, by key.
FOLDERS = {"label": "labels", "mask": "masks"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatasetFolder:
    """Subjects or pairs of a data set.

    Attributes:
        train: training subjects, each {"image": path}, with "label": path and "mask": path if there are a label map and
            a mask; or pairs.
        val: validation subjects or pairs, likewise.
        test: test subjects, which neither training nor validation uses; empty if none are named.
    """

    train: list[dict[str, str]]
    val: list[dict[str, str]]
    test: list[dict[str, str]] = field(default_factory=list)


def read_dataset(dataset_dir: str | Path, atlas: str | None = None) -> DatasetFolder:
    """List the subjects of a folder with images/, optional labels/ and masks/ (same names) and optional dataset.json.

    dataset.json may name the subjects (file names without their endings) under "split": {"train": [...], "val":
    [...]}, with "test": [...] if some are for neither, and labels, see `labels_to_score`. Without a split, the last
    fifth of the subjects by name, at least two, is for validation; fewer than four subjects are all used for both.

    Args:
        dataset_dir: folder of the data set.
        atlas: name of a subject to put first in each list, to pair an atlas with each subject.

    Returns:
        The training, validation and test subjects.

    Raises:
        InputError: if the folder, images/ or a named file is missing, there are fewer than two training or validation
            subjects, or dataset.json cannot be read.
    """
    root = Path(str(dataset_dir))
    check_dataset_dir(root)
    if not os.path.isdir(root / "images"):
        raise InputError(f"{root}: a data set needs a folder images/, which is missing.")
    images = files_by_name(root / "images")
    if not images:
        raise InputError(f"{root / 'images'}: holds no image ({', '.join(VOLUME_ENDINGS)}).")
    maps = maps_of(root)
    for key, files in maps.items():
        if strangers := sorted(files.keys() - images.keys()):
            raise InputError(
                f"{files[strangers[0]]}: there is no image of this name; {FOLDERS[key]}/ must match images/."
            )
    description = _read_description(root / "dataset.json") if os.path.isfile(root / "dataset.json") else {}

    train, val, test = _description_split(description, root) or (
        *default_split([name for name in images if name != atlas]), []
    )  # fmt: skip
    if atlas is not None and atlas not in images:
        raise InputError(f"atlas: {root / 'images'} has no image {atlas}.")
    if atlas is not None:
        train, val, test = (
            [atlas, *(name for name in names if name != atlas)] if names else [] for names in (train, val, test)
        )
    for name in (*train, *val, *test):
        if name not in images:
            stopped = os.path.isfile(root / "prepared.json")
            remedy = "its preparation was stopped, and the same call continues" if stopped else "add it"
            raise InputError(f"{root / 'images'}: has no image {name}, though the data set names it; {remedy}.")
    for what, names in (("train on", train), ("validate on", val)):
        if len(names) < 2:
            raise InputError(f"{root}: {len(names)} subject to {what}; pairs need at least two.")
    unlabelled = sum(name not in maps["label"] for name in val)
    if maps["label"] and unlabelled:
        logger.warning("%s: %d of %d validation subjects have no label map.", root, unlabelled, len(val))
    return DatasetFolder(*([subject_of(images[name], name, maps) for name in names] for names in (train, val, test)))


def maps_of(root: Path) -> dict[str, dict[str, Path]]:
    """List the label maps and masks of a data set.

    Args:
        root: folder of the data set.

    Returns:
        The path of each "label" and "mask" by the name of its subject.

    Raises:
        InputError: as `files_by_name`.
    """
    return {key: files_by_name(root / name) if os.path.isdir(root / name) else {} for key, name in FOLDERS.items()}


def subject_of(image: Path, name: str, maps: Mapping[str, Mapping[str, Path]]) -> dict[str, str]:
    """Return the files of a subject.

    Args:
        image: path of its image.
        name: its name.
        maps: label maps and masks of all subjects, see `maps_of`.

    Returns:
        {"image": path}, with "label": path and "mask": path if there are a label map and a mask.
    """
    return {"image": str(image)} | {key: str(files[name]) for key, files in maps.items() if name in files}


def check_dataset_dir(folder: Path) -> None:
    """Check that the folder of a data set is there.

    Args:
        folder: value of dataset_dir.

    Raises:
        InputError: if it is not.
    """
    if not os.path.isdir(folder):  # unlike `Path.is_dir`, no error for a name that is too long
        raise InputError(f"dataset_dir: there is no folder {folder}; set --dataset_dir to the folder of the data set.")


def files_by_name(folder: Path, endings: tuple[str, ...] = VOLUME_ENDINGS) -> dict[str, Path]:
    """List the volumes in a folder, without hidden files.

    Args:
        folder: path of the folder; its subfolders are not searched.
        endings: endings of the files to list, in lower case; those of the files may be in either case.

    Returns:
        The path of each volume by the name of the subject, in the order of the file names.

    Raises:
        InputError: if the folder cannot be read, or two volumes have the same name.
    """
    files: dict[str, Path] = {}
    with reading(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        if path.name.lower().endswith(endings) and not path.name.startswith(".") and path.is_file():
            name = volume_name(path)
            if name in files:
                raise InputError(f"{path} and {files[name]} have the same name; keep one of them.")
            files[name] = path
    return files


def _read_description(path: Path) -> dict:
    """Read dataset.json.

    Raises:
        InputError: if it cannot be read, or holds no JSON object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: must hold a JSON object, not a {type(content).__name__}.")
    return content


def _description_split(description: dict, root: Path) -> tuple[list[str], list[str], list[str]] | None:
    """Return the names of training, validation and test subjects from dataset.json; None if it has no split.

    Raises:
        InputError: if the split is invalid.
    """
    if "split" not in description:
        return None
    split = description["split"]
    parts: list[Any] = [split.get("train"), split.get("val"), split.get("test", [])] if isinstance(split, dict) else [0]
    if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in parts):
        raise InputError(
            f'{root / "dataset.json"}: "split" must be an object with the lists of names "train" and "val", and '
            '"test" if there is one.'
        )
    train, val, test = ([volume_name(name) for name in part] for part in parts)
    for names in (train, val, test):
        if len(set(names)) < len(names):
            raise InputError(f'{root / "dataset.json"}: a list in "split" has a name twice.')
    if both := sorted({*train, *val} & {*test}):
        raise InputError(f'{root / "dataset.json"}: {both[0]} is in "test" and in another list of "split".')
    return train, val, test


def default_split(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """Split subjects or pairs into training and validation by default.

    Args:
        items: subjects or pairs, in order.

    Returns:
        The items for training, and those for validation: the last fifth, at least two. Fewer than four items are all
        used for both.
    """
    if len(items) < 4:
        return items, items
    num_val = max(2, len(items) // 5)
    return items[:-num_val], items[-num_val:]


def labels_to_score(dataset_dir: str | Path, data_list: str = "") -> list[int] | None:
    """Return the label values to score: "eval_labels" in a data set's dataset.json, otherwise those in "labels".

    Args:
        dataset_dir: folder of the data set, as for `read_dataset`.
        data_list: data list, if the pairs are not from the data set; otherwise "".

    Returns:
        The values; None, for all that occur, if there is no such list.

    Raises:
        InputError: if dataset.json cannot be read, or a value is not a whole number.
    """
    root = Path(str(dataset_dir))
    if data_list or not os.path.isfile(root / "dataset.json"):
        return None
    description = _read_description(root / "dataset.json")
    values = description.get("eval_labels") or _listed_values(description.get("labels")) or None
    if values is None:
        return None
    if not isinstance(values, list) or not all(is_label(str(value)) for value in values):
        raise InputError(
            f'{root / "dataset.json"}: "eval_labels" and the keys, or values, of "labels" must be whole numbers.'
        )
    return sorted({int(value) for value in values} - {0})


def _listed_values(labels: Any) -> Any:
    """Return the label values in "labels": the keys of an object, or of objects in it, or else its values.

    {"1": "liver"} is how nnU-Net 1 names labels, {"0": {"1": "liver"}} how Learn2Reg does, and {"liver": 1} nnU-Net 2.
    """
    if not isinstance(labels, dict):
        return labels
    if labels and all(isinstance(value, dict) for value in labels.values()):
        return [key for names in labels.values() for key in names]
    return list(labels if any(map(is_label, labels)) else labels.values())
