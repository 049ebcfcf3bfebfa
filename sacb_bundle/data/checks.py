"""Check headers and label maps before long work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..spatial import Grid, check_same_grid, read_grid, read_label_map
from .dataset_folder import labels_to_score


def check_training_items(train: Sequence[Mapping[str, str]], batch_size: int) -> None:
    """Check that there are pairs to train on, and that they fit into a batch.

    Args:
        train: subjects, each with the path "image"; or pairs, see `sacb_bundle.data.PairFiles`.
        batch_size: number of pairs in a batch.

    Raises:
        InputError: if there are fewer than two subjects, or no pairs, or pairs of different sizes would share a batch.
    """
    if not train:
        raise InputError("0 subjects to train on; pairs need at least two.")
    if "image" in train[0] and len(train) < 2:
        raise InputError("1 subject to train on; pairs need at least two.")
    if "image" not in train[0] and batch_size > 1:
        raise InputError(f"batch_size is {batch_size}; it must be 1 for pairs, each of which has a grid of its own.")


def check_mixture(
    train: Sequence[Mapping[str, str]], batch_size: int, mirror: bool, data_list: str, initial: str
) -> None:
    """Check that a training on several data sets asks for nothing that only one of them allows.

    Args:
        train: subjects of all data sets.
        batch_size: number of pairs in a batch.
        mirror: whether mirror images of subjects are paired with others.
        data_list: list of pairs; "" for none.
        initial: alignment of the subjects.

    Raises:
        InputError: if it does; names the first key, and the value that it must have.
    """
    for name, value, wanted in (
        ("batch_size", batch_size, 1),
        ("mirror", mirror, False),
        ("data_list", data_list, ""),
        ("initial", initial, "none"),
    ):
        if value != wanted:
            raise InputError(f"{name} is {value!r}; for several data sets, it must be {wanted!r}.")
    if has_masks(train):
        raise InputError("Several data sets cannot have masks; train without the folders masks/.")


def check_scan_grids(pair: Mapping[str, str], grids: dict[str, Grid | InputError]) -> None:
    """Check that a pair's files exist, and that each label map and mask is on the grid of its image, by the headers.

    Args:
        pair: paths of scans of any geometry: "moving", "fixed" and optionally "_labels" and "_mask" of either.
        grids: grids of files whose headers were read before; other grids are added.

    Raises:
        InputError: if a file is missing or on another grid; names the file, the problem and what is expected.
    """
    for role in ("fixed", "moving"):
        image = grid_of(pair[role], grids)
        for key in (f"{role}_labels", f"{role}_mask"):
            if key in pair:
                check_same_grid(pair[key], grid_of(pair[key], grids), pair[role], image)


def grid_of(path: str, grids: dict[str, Grid | InputError]) -> Grid:
    """Return the grid of a file, whose header is read once.

    Args:
        path: path of the file.
        grids: grids, or errors, of files that were read before; the result is added.

    Returns:
        The grid, without trailing axes of length 1.

    Raises:
        InputError: if the header cannot be read.
    """
    if path not in grids:
        try:
            grids[path] = read_grid(path)
        except InputError as error:
            grids[path] = error
    grid = grids[path]
    if isinstance(grid, InputError):
        raise grid
    return grid


def has_labels(items: Sequence[Mapping[str, str]]) -> bool:
    """Return whether there are subjects or pairs, and all have label maps.

    Args:
        items: subjects (with "label") or pairs (with "moving_labels" and "fixed_labels"), each as paths by key.

    Returns:
        True if there is at least one, and none lacks a label map; the files are not read.
    """
    return bool(items) and all("label" in item or {"moving_labels", "fixed_labels"} <= item.keys() for item in items)


def has_masks(items: Sequence[Mapping[str, str]]) -> bool:
    """Return whether any subject or pair has a mask.

    Args:
        items: subjects ("mask") or pairs ("moving_mask", "fixed_mask"), each as paths by key.

    Returns:
        True if one has; the files are not read.
    """
    return any({"mask", "moving_mask", "fixed_mask"} & item.keys() for item in items)


def check_masks(masks: torch.Tensor, shape: Sequence[int], names: str) -> None:
    """Check that the masks of a subject or pair leave something to compare on the grid of the training.

    Args:
        masks: masks (C, D, H, W) that must all be nonzero where something is compared.
        shape: shape (D, H, W) of the images.
        names: files of the masks, for the error message.

    Raises:
        InputError: if they leave nothing, or are on another grid.
    """
    if masks.shape[1:] != tuple(shape):
        raise InputError(f"{names}: the crop leaves masks as they are; its keys must include mask and masks.")
    if not masks.all(dim=0).any():
        raise InputError(f"{names}: no voxel of the training grid is within, so nothing would be compared.")


def check_training_labels(train: Sequence[Mapping[str, str]], dice_weight: float, mirror: bool) -> None:
    """Check that label maps can be compared in training, if they are to.

    Args:
        train: subjects or pairs to train on, see `has_labels`.
        dice_weight: weight of the loss of the label maps; 0 for none.
        mirror: whether mirror images of subjects are paired with others.

    Raises:
        InputError: if one has no label map, or mirror images would swap the labels of left and right.
    """
    if not dice_weight:
        return
    if unlabelled := [item for item in train if not has_labels([item])]:
        names = [str(item.get("image") or item.get("id")) for item in unlabelled]
        raise InputError(
            f"dice_weight is {dice_weight:g}, but {len(names)} of {len(train)} subjects or pairs to train on have no "
            f"label maps, such as {names[0]}; add them, or set dice_weight to 0."
        )
    if mirror and "image" in train[0]:
        raise InputError(
            f"dice_weight is {dice_weight:g} and mirror is true, but a mirror image has the labels of left and right "
            "swapped; set mirror to false."
        )


def check_labels(labels: Iterable[int] | None, items: Iterable[Mapping[str, str]]) -> None:
    """Check that at least one of the label values to score occurs in the label maps, if there are label maps.

    Args:
        labels: label values to score; None for all.
        items: subjects or pairs, see `label_values`.

    Raises:
        InputError: if none occurs; lists the label values that do.
    """
    if labels is None:
        return
    wanted, present = set(labels), set[int]()
    for path in _label_files(items):
        with suppress(InputError):  # told where the file is read
            present |= _values_in(path)
        if wanted & present:
            return
    if present:
        raise InputError(f"labels is {sorted(wanted)}, but the label maps hold only {sorted(present)}.")


def label_values(items: Iterable[Mapping[str, str]]) -> list[int]:
    """List the label values in the label maps of subjects or pairs.

    Args:
        items: subjects (with "label") or pairs (with "fixed_labels"), each as paths by key.

    Returns:
        The label values other than 0 that occur in any of the label maps, in ascending order.

    Raises:
        InputError: if a label map cannot be read or is invalid.
    """
    return sorted(set[int]().union(*map(_values_in, _label_files(items))))


def labels_to_validate(dataset_dir: str | Path, data_list: str, items: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the label values that validate a training.

    Args:
        dataset_dir: folder of the data set.
        data_list: data list, if pairs are given; otherwise "".
        items: subjects or pairs to validate on, see `label_values`.

    Returns:
        Those that dataset.json lists, see `labels_to_score`; without a list, all that occur in the label maps.

    Raises:
        InputError: as in those functions.
    """
    return labels_to_score(dataset_dir, data_list) or label_values(items)


def _label_files(items: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the distinct label maps of subjects ("label") or pairs ("fixed_labels")."""
    return sorted({item[key] for item in items for key in ("label", "fixed_labels") if key in item})


def _values_in(path: str) -> set[int]:
    """Return the label values other than 0 in a label map."""
    return set(np.unique(read_label_map(path).values).tolist()) - {0}
