"""Pairs of scans in folders."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from ..errors import InputError
from ..spatial import VOLUME_ENDINGS
from .data_list import named, read_data_list
from .dataset_folder import check_dataset_dir, files_by_name, maps_of, subject_of
from .pairs import PairFiles, pair_indices, subject_pair

logger = logging.getLogger(__name__)


def study_pairs(dataset_dir: str | Path, data_list: str | Path, pairing: str, atlas: str | None) -> list[PairFiles]:
    """List the pairs of a data list, or of the scans in a folder.

    Args:
        dataset_dir: folder of scans, see `_scans_of`; ignored if there is a data list. All scans count, since a split
            in dataset.json is for training and evaluation.
        data_list: file, see `read_data_list`; "" for none.
        pairing: rule that pairs the scans, see `pair_indices`.
        atlas: name of the scan to put first; None for none.

    Returns:
        The pairs, with ids.

    Raises:
        InputError: as in those functions, or if the folder holds fewer than two scans or not the atlas.
    """
    if data_list:
        return read_data_list(data_list)
    root = Path(str(dataset_dir))
    check_dataset_dir(root)
    scans = _scans_of(root)
    if atlas is not None and atlas not in scans:
        raise InputError(f"atlas: {root} has no scan {atlas}.")
    names = sorted(scans, key=lambda name: name != atlas)
    if len(names) < 2:
        raise InputError(f"{root}: holds one scan; pairs need at least two.")
    pairs = [
        subject_pair(scans[names[moving]], scans[names[fixed]]) for moving, fixed in pair_indices(len(names), pairing)
    ]
    return named(pairs, root)


def atlas_pairs(atlas: Path, atlas_labels: Path | None, images: Path) -> list[PairFiles]:
    """Pair an atlas (moving) with each scan in a folder; results are named after the scans.

    Args:
        atlas: path of the atlas image.
        atlas_labels: path of the label map to warp; None for none.
        images: folder of scans, see `_scans_of`. The atlas itself is left out if it is there.

    Returns:
        The pairs, with ids.

    Raises:
        InputError: if the folder holds no other scan.
    """
    moving = {"image": str(atlas)} | ({"label": str(atlas_labels)} if atlas_labels else {})
    own = {os.path.realpath(path) for path in (atlas, atlas_labels) if path}
    scans = {name: scan for name, scan in _scans_of(images).items() if os.path.realpath(scan["image"]) not in own}
    if not scans:
        raise InputError(f"{images}: holds no scan other than the atlas.")
    return named([{"id": name} | subject_pair(moving, scan) for name, scan in scans.items()], images)


def pairs_by_name(fixed_dir: Path, moving_dir: Path) -> list[PairFiles]:
    """Pair scans of the same name in two folders; results have this name. Scans in only one folder give a warning.

    Args:
        fixed_dir: folder of fixed scans, see `_scans_of`.
        moving_dir: folder of moving scans.

    Returns:
        The pairs, with ids.

    Raises:
        InputError: if no name is in both folders.
    """
    fixed, moving = _scans_of(fixed_dir), _scans_of(moving_dir)
    both = [name for name in fixed if name in moving]
    if not both:
        raise InputError(
            f"No scan has the same name in {fixed_dir} (such as {min(fixed)}) and {moving_dir} (such as "
            f"{min(moving)}); list the pairs in a table."
        )
    for folder, names in ((fixed_dir, fixed.keys() - moving.keys()), (moving_dir, moving.keys() - fixed.keys())):
        if names:
            logger.warning("%s: without a counterpart: %s", folder, ", ".join(sorted(names)))
    return named([{"id": name} | subject_pair(moving[name], fixed[name]) for name in both], fixed_dir)


def _scans_of(folder: Path) -> dict[str, dict[str, str]]:
    """Return the scans in a folder by name, sorted, see `subject_of`.

    Args:
        folder: folder of scans; or of images/ with scans, and labels/ and masks/ with files of the same names.

    Raises:
        InputError: if there is no such folder, it holds no scan, or two scans have the same name.
    """
    if not os.path.isdir(folder):
        raise InputError(f"{folder}: there is no such folder.")
    images = folder / "images" if (folder / "images").is_dir() else folder
    scans = files_by_name(images)
    if not scans:
        raise InputError(f"{images}: holds no scan ({', '.join(VOLUME_ENDINGS)}).")
    maps = {} if images == folder else maps_of(folder)
    return {name: subject_of(path, name, maps) for name, path in scans.items()}
