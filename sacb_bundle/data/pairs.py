"""Pairs of images to register."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

from ..errors import InputError
from ..spatial import volume_name
from .data_list import named, read_data_list
from .dataset_folder import DatasetFolder, default_split, read_dataset

# "id", the paths "moving" and "fixed", and optionally "moving_labels", "fixed_labels", "moving_mask" and "fixed_mask".
PairFiles = dict[str, str]
# Keys of the label maps of subjects and pairs.
LABEL_MAPS = ("label", "moving_labels", "fixed_labels")
# Key of a file of a subject, and the end of its key in a pair.
IN_PAIR = {"label": "labels", "mask": "mask"}


def pair_indices(num_subjects: int, pairing: str) -> list[tuple[int, int]]:
    """Return pairs (moving, fixed) of subjects as indices.

    Args:
        num_subjects: number of subjects; fewer than 2 make no pairs.
        pairing: "ordered" for all ordered pairs, "consecutive" for each subject to the next and the last to the first,
            "atlas" for the first subject to each other one.

    Returns:
        The pairs of indices, from 0.

    Raises:
        InputError: if `pairing` is not one of these.

    Example:
        >>> pair_indices(3, "consecutive")
        [(0, 1), (1, 2), (2, 0)]
    """
    if pairing == "ordered":
        return list(permutations(range(num_subjects), 2))
    if pairing == "consecutive":
        return [(index, (index + 1) % num_subjects) for index in range(num_subjects) if num_subjects > 1]
    if pairing == "atlas":
        return [(0, index) for index in range(1, num_subjects)]
    raise InputError(f'pairing is {pairing!r}; it must be "ordered", "consecutive" or "atlas".')


def list_pairs(
    dataset_dir: str, data_list: str = "", pairing: str = "ordered", atlas: str | None = None, split: str = "val"
) -> list[PairFiles]:
    """Return the pairs of a data list, or of the validation or test subjects of a data set.

    Args:
        dataset_dir: folder of the data set, see `read_dataset`; ignored if there is a data list.
        data_list: file, see `read_data_list`; "" for none.
        pairing: rule that pairs the subjects, see `pair_indices`.
        atlas: name of the subject to put first, see `read_dataset`.
        split: "val" for the validation subjects; "test" for the test subjects or, if there are none, the validation
            subjects.

    Returns:
        The pairs, with ids.

    Raises:
        InputError: as in those functions, or if `split` has another value.
    """
    if split not in ("val", "test"):
        raise InputError(f'split is {split!r}; it must be "val" or "test".')
    if data_list:
        return read_data_list(data_list)
    dataset = read_dataset(dataset_dir, atlas)
    subjects = (dataset.test if split == "test" else []) or dataset.val
    indices = pair_indices(len(subjects), pairing)
    pairs = [subject_pair(subjects[moving], subjects[fixed]) for moving, fixed in indices]
    return named(pairs, Path(str(dataset_dir)))


def training_data(
    dataset_dir: str, data_list: str = "", atlas: str | None = None, with_labels: bool = False
) -> DatasetFolder:
    """Return the subjects of a data set, or the pairs of a data list, for training and validation.

    The last fifth of a data list, at least two pairs, is for validation; fewer than four pairs are all used for both.

    Args:
        dataset_dir: folder of the data set, see `read_dataset`; ignored if there is a data list.
        data_list: file, see `read_data_list`; "" for none.
        atlas: name of the subject to put first, see `read_dataset`.
        with_labels: whether those for training keep their label maps, for a loss of label maps.

    Returns:
        The subjects or pairs.

    Raises:
        InputError: as in those functions.
    """
    data = DatasetFolder(*default_split(read_data_list(data_list))) if data_list else read_dataset(dataset_dir, atlas)
    if with_labels:
        return data
    unlabelled = [{key: value for key, value in item.items() if key not in LABEL_MAPS} for item in data.train]
    return DatasetFolder(unlabelled, data.val)


def subject_pair(moving: dict[str, str], fixed: dict[str, str]) -> PairFiles:
    """Make a pair of two subjects.

    Args:
        moving: moving subject, {"image": path} with or without "label": path and "mask": path.
        fixed: fixed subject, likewise.

    Returns:
        The pair, without an id, and with a label map and a mask for each subject that has one.
    """
    pair = {"moving": moving["image"], "fixed": fixed["image"]}
    for role, subject in (("moving", moving), ("fixed", fixed)):
        pair |= {f"{role}_{IN_PAIR[key]}": path for key, path in subject.items() if key in IN_PAIR}
    return pair


def image_files(items: Sequence[Mapping[str, str]], atlas: str | None = None) -> set[str]:
    """Return the files of the images of subjects or pairs.

    Args:
        items: subjects or pairs.
        atlas: name of a subject to leave out; None for none.

    Returns:
        The paths, without links.
    """
    paths = [item[key] for item in items for key in ("image", "moving", "fixed") if key in item]
    return {os.path.realpath(path) for path in paths if volume_name(path) != atlas}
