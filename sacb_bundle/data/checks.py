"""Checks of every file before long work starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..errors import InputError
from ..spatial import Grid, read_image, read_label_map


def check_subjects(subjects: Iterable[Mapping[str, str]]) -> None:
    """Check that images are images, labels are labels, and all share one grid.

    Args:
        subjects: each with "image" and optionally "label", paths.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    reference: tuple[str, Grid] | None = None
    for subject in subjects:
        grid = read_image(subject["image"]).grid
        reference = reference or (subject["image"], grid)
        check_same_grid(subject["image"], grid, *reference)
        if "label" in subject:
            check_same_grid(subject["label"], read_label_map(subject["label"]).grid, subject["image"], grid)


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
                grids[path] = (read_label_map if key.startswith("seg") else read_image)(path).grid
            check_same_grid(path, grids[path], pair["fixed"], grids[pair["fixed"]])


def check_scans(pairs: Iterable[Mapping[str, str]]) -> None:
    """Check each pair of scans, of any geometry: every label map and mask lies on the grid of its own image.

    Args:
        pairs: each with "moving", "fixed" and optionally "seg_", "_mask" to either, paths.

    Raises:
        InputError: names the file, what is wrong and what would be right.
    """
    grids: dict[str, Grid] = {}
    for pair in pairs:
        for role in ("fixed", "moving"):
            for key, read in ((role, read_image), (f"seg_{role}", read_label_map), (f"{role}_mask", read_label_map)):
                if key in pair:
                    path = pair[key]
                    if path not in grids:
                        grids[path] = read(path).grid
                    check_same_grid(path, grids[path], pair[role], grids[pair[role]])


def check_same_grid(path: str, grid: Grid, reference_path: str, reference: Grid) -> None:
    """Raise an InputError unless both grids coincide."""
    if not grid.coincides_with(reference):
        raise InputError(
            f"{path} has {grid}, but {reference_path} has {reference}. "
            "Both must lie on one grid: resample one onto the other first."
        )


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
    return set(np.unique(read_label_map(path).values).tolist()) - {0}
