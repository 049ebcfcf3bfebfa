"""Pairs of the scans in folders."""

from __future__ import annotations

import logging
from pathlib import Path

from ..errors import InputError
from ..spatial import VOLUME_ENDINGS
from .data_list import named, read_data_list
from .dataset_folder import files_by_name
from .pairs import Pair, pair_indices, subject_pair

logger = logging.getLogger(__name__)


def study_pairs(dataset_dir: str | Path, data_list: str | Path, pairing: str, atlas: str | None) -> list[Pair]:
    """Pairs of a data list, or of the scans of a folder.

    Args:
        dataset_dir: see `scans_of`; not looked at if there is a data list. A split in its dataset.json is for training
            and evaluation; here, all scans count.
        data_list: see `read_data_list`; "" for none.
        pairing: see `pair_indices`.
        atlas: name of the scan that is put first; None for none.

    Raises:
        InputError: see those functions.
    """
    if data_list:
        return read_data_list(data_list)
    root = Path(str(dataset_dir))
    scans = scans_of(root)
    if atlas is not None and atlas not in scans:
        raise InputError(f"atlas: {root} has no scan {atlas}.")
    names = sorted(scans, key=lambda name: name != atlas)
    if len(names) < 2:
        raise InputError(f"{root}: holds one scan; pairs need at least two.")
    pairs = [
        subject_pair(scans[names[moving]], scans[names[fixed]]) for moving, fixed in pair_indices(len(names), pairing)
    ]
    return named(pairs, root)


def atlas_pairs(atlas: Path, atlas_labels: Path | None, images: Path) -> list[Pair]:
    """An atlas (moving) to each scan of a folder; results have the names of the scans.

    Args:
        atlas: image.
        atlas_labels: label map that is carried over; None for none.
        images: folder, see `scans_of`. The atlas itself, if it lies there, is left out.

    Raises:
        InputError: if the folder holds no other scan.
    """
    moving = {"image": str(atlas)} | ({"label": str(atlas_labels)} if atlas_labels else {})
    own = {path.resolve() for path in (atlas, atlas_labels) if path}
    scans = {name: scan for name, scan in scans_of(images).items() if Path(scan["image"]).resolve() not in own}
    if not scans:
        raise InputError(f"{images}: holds no scan but the atlas.")
    return named([{"id": name} | subject_pair(moving, scan) for name, scan in scans.items()], images)


def pairs_by_name(fixed_dir: Path, moving_dir: Path) -> list[Pair]:
    """Scans of one name in two folders; results have this name. A warning names scans that are in one folder only.

    Args:
        fixed_dir: folder, see `scans_of`.
        moving_dir: the same.

    Raises:
        InputError: if no name is in both.
    """
    fixed, moving = scans_of(fixed_dir), scans_of(moving_dir)
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


def scans_of(folder: Path) -> dict[str, dict[str, str]]:
    """Scans of a folder by name, in the order of the names: {"image": path}, with "label": path where there is one.

    Args:
        folder: of scans; or with scans in images/ and, for label maps of the same names, labels/.

    Raises:
        InputError: if there is no such folder, it holds no scan, or two of one name.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder.")
    images = folder / "images" if (folder / "images").is_dir() else folder
    scans = {name: {"image": str(path)} for name, path in files_by_name(images, VOLUME_ENDINGS).items()}
    if not scans:
        raise InputError(f"{images}: holds no scan ({', '.join(VOLUME_ENDINGS)}).")
    if images != folder and (folder / "labels").is_dir():
        for name, path in files_by_name(folder / "labels", VOLUME_ENDINGS).items():
            if name in scans:
                scans[name]["label"] = str(path)
    return scans
