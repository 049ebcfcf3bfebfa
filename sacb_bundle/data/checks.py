"""Checks of every file before long work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..errors import InputError
from ..spatial import Grid, check_same_grid, read_grid, read_image, read_label_map


def check_subjects(train: Sequence[Mapping[str, str]], val: Sequence[Mapping[str, str]]) -> None:
    """Check that there are pairs to train on, images are images, and labels are labels on their images' grids.

    Args:
        train: subjects to train on, each with "image" and optionally "label", paths.
        val: subjects to validate on.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    if len(train) < 2:
        raise InputError(f"{len(train)} subject to train on; pairs need at least two.")
    for subject in (*train, *val):
        grid = read_image(subject["image"]).grid
        if "label" in subject:
            check_same_grid(subject["label"], read_label_map(subject["label"]).grid, subject["image"], grid)


def check_pairs(pairs: Iterable[Mapping[str, str]], require_labels: bool = False) -> None:
    """Check that each pair, with its labels, shares one grid.

    Args:
        pairs: each with "moving", "fixed" and optionally "moving_labels" and "fixed_labels", paths.
        require_labels: whether both label maps must be there.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    grids: dict[str, Grid] = {}
    for pair in pairs:
        for key in ("fixed", "moving", "moving_labels", "fixed_labels"):
            path = pair.get(key)
            if path is None:
                if require_labels:
                    raise InputError(f"{pair['moving']} to {pair['fixed']}: no {key}; scoring needs both label maps.")
                continue
            if path not in grids:
                grids[path] = (read_label_map if key.startswith("seg") else read_image)(path).grid
            check_same_grid(path, grids[path], pair["fixed"], grids[pair["fixed"]])


def check_scan_grids(pair: Mapping[str, str], grids: dict[str, Grid | InputError]) -> None:
    """Check by their headers that a pair's files are there, and each label map and mask lies on its own image's grid.

    Args:
        pair: scans of any geometry, with "moving", "fixed" and optionally "_labels" and "_mask" of either, paths.
        grids: of files whose headers were read before; others are added.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    for role in ("fixed", "moving"):
        image = grid_of(pair[role], grids)
        for key in (f"{role}_labels", f"{role}_mask"):
            if key in pair:
                check_same_grid(pair[key], grid_of(pair[key], grids), pair[role], image)


def grid_of(path: str, grids: dict[str, Grid | InputError]) -> Grid:
    """Grid of a file, whose header is read once; the error, if it has none."""
    if path not in grids:
        try:
            grids[path] = read_grid(path)
        except InputError as error:
            grids[path] = error
    grid = grids[path]
    if isinstance(grid, InputError):
        raise grid
    return grid


def has_labels(subjects: Sequence[Mapping[str, str]]) -> bool:
    """Whether there are subjects, and each has a "label"."""
    return bool(subjects) and all("label" in subject for subject in subjects)


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
    """Label values other than 0 that occur in the label maps of subjects ("label") or pairs ("fixed_labels")."""
    return sorted(set[int]().union(*map(values_of, label_files(subjects))))


def label_files(subjects: Iterable[Mapping[str, str]]) -> list[str]:
    """Label maps of subjects ("label") or pairs ("fixed_labels"), each once."""
    return sorted({subject[key] for subject in subjects for key in ("label", "fixed_labels") if key in subject})


def values_of(path: str) -> set[int]:
    """Label values other than 0 in a label map."""
    return set(np.unique(read_label_map(path).values).tolist()) - {0}
