"""A data set as downloaded: its subjects, their files and their split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..data.dataset_folder import files_by_name
from ..errors import InputError
from ..spatial import (
    Volume,
    as_image,
    as_label_map,
    as_mask,
    as_volume,
    check_same_grid,
    content_hash,
    read_grid,
    read_volume,
    reading_image,
)

PARTS = ("train", "val", "test")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A subject as downloaded.

    Attributes:
        name: its name in the prepared folder.
        files: paths of the "image", and of "label" and "mask" if there are any. One file may hold several.
    """

    name: str
    files: dict[str, Path]

    @property
    def sources(self) -> list[Path]:
        """All files that are read, each once: those of `files`, and the voxels of each header of Analyze."""
        voxels = [path.with_suffix(".img") for path in self.files.values() if path.suffix == ".hdr"]
        return list(dict.fromkeys([*self.files.values(), *voxels]))

    def hashes(self, raw: Path) -> dict[str, str]:
        """Hash the files.

        Args:
            raw: folder of the download.

        Returns:
            The SHA-256 of each, by its path in that folder.

        Raises:
            InputError: if one cannot be read.
        """
        return {path.relative_to(raw).as_posix(): content_hash(path) for path in self.sources}


def read_files(subject: Subject) -> dict[str, Volume]:
    """Read the files of a subject.

    Args:
        subject: subject whose files are in formats that `read_volume` takes, or .mgz or .hdr with .img.

    Returns:
        The "image", and the "label" map and the "mask" (0 and 1) if there are any, as int32.

    Raises:
        InputError: if one is invalid, or not on the grid of the image.
    """
    volumes = {key: _read_volume(path) for key, path in subject.files.items()}
    if "mask" in volumes:
        mask = as_mask(volumes["mask"], subject.files["mask"])
        volumes["mask"] = replace(mask, values=(mask.values != 0).astype(np.int32))
    return checked(volumes, subject)


def _read_volume(path: Path) -> Volume:
    """Read a file in a format of all commands, or of FreeSurfer or Analyze, which only data sets still use."""
    if path.suffix not in (".mgz", ".hdr"):
        return read_volume(path)
    with reading_image(path):
        return as_volume(nib.load(path), str(path))


def checked(volumes: dict[str, Volume], subject: Subject) -> dict[str, Volume]:
    """Check the volumes of a subject.

    Args:
        volumes: "image", and "label" and "mask" if there are any.
        subject: subject whose files they were read from.

    Returns:
        The volumes, label map and mask as int32.

    Raises:
        InputError: if the image cannot be registered, a file is not a label map, or one is not on the image's grid.
    """
    files = subject.files
    result = {"image": as_image(volumes["image"], files["image"])}
    for key in volumes.keys() - {"image"}:
        check_same_grid(str(files[key]), volumes[key].grid, str(files["image"]), result["image"].grid)
        result[key] = as_label_map(volumes[key], files[key])
    return result


@dataclass(frozen=True)
class Download:
    """A data set as downloaded.

    Attributes:
        form: the form in which it was found, in words.
        subjects: its subjects.
        split: names of the subjects for "train", "val" and "test".
        initial: "affine" to align each subject to the template, "none" if they are aligned and share a grid.
        template: name of that subject; by default, the first for training.
        spacing_mm: spacing of the prepared images; None for that of the template, or 2 mm after an alignment.
        size: numbers of voxels along the template's axes; None for those of the template, or after an alignment, those
            that hold its body.
        modality: modality of the images, see `sacb_bundle.intensities`.
        description: "labels" and "eval_labels" of dataset.json.
        read: function that reads a subject, as `read_files`.
    """

    form: str
    subjects: Sequence[Subject]
    split: Mapping[str, Sequence[str]]
    initial: str
    template: str = ""
    spacing_mm: float | None = None
    size: tuple[int, int, int] | None = None
    modality: str = "mr"
    description: Mapping[str, Any] = field(default_factory=dict)
    read: Callable[[Subject], dict[str, Volume]] = read_files


def labelled_subjects(
    images: Path,
    labels: Path,
    masks: Path | None = None,
    name_of: Callable[[str], str] = str,
    label_of: Callable[[str], str] = str,
) -> list[Subject]:
    """List subjects whose images, label maps and masks, if there are any, are in folders of their own.

    Args:
        images: folder of the images.
        labels: folder of the label maps.
        masks: folder of masks with the names of the images, which need not exist; None if the data set has none.
        name_of: function from the name of an image, without its ending, to that of the subject.
        label_of: function from the name of an image to that of its label map.

    Returns:
        The subjects, in the order of the names of their images.

    Raises:
        InputError: if a folder cannot be read or holds no image, a label map is missing, or the image of a label map or
            a mask.
    """
    scans, maps = files_by_name(images), files_by_name(labels)
    found_masks = files_by_name(masks) if masks is not None and masks.is_dir() else {}
    if not scans:
        raise InputError(f"{images}: holds no image.")
    for name, path in scans.items():
        if label_of(name) not in maps:
            raise InputError(f"{labels}: has no label map {label_of(name)} for {path}.")
    for files, known in ((maps, {label_of(name) for name in scans}), (found_masks, scans.keys())):
        if strangers := sorted(files.keys() - known):
            raise InputError(f"{images}: has no image for {files[strangers[0]]}.")
    masked = {name: {"mask": path} for name, path in found_masks.items()}
    return [
        Subject(name_of(name), {"image": path, "label": maps[label_of(name)]} | masked.get(name, {}))
        for name, path in scans.items()
    ]


def learn2reg_subjects(raw: Path) -> list[Subject]:
    """List the subjects of a data set of Learn2Reg: imagesTr/, labelsTr/, and masksTr/ if it is there.

    Args:
        raw: folder of the download.

    Returns:
        The subjects, named without the number of the modality.

    Raises:
        InputError: as `labelled_subjects`.
    """
    return labelled_subjects(
        raw / "imagesTr", raw / "labelsTr", raw / "masksTr", name_of=lambda name: name.removesuffix("_0000")
    )


def alignment_needed(images: Iterable[Path]) -> str:
    """Tell from their grids whether images must be aligned.

    Args:
        images: paths of images in formats that `read_grid` takes.

    Returns:
        "none" if all share a grid, and are taken as aligned; otherwise "affine".

    Raises:
        InputError: if the header of one is invalid.
    """
    first, *others = (read_grid(path) for path in images)
    return "none" if all(grid.coincides_with(first) for grid in others) else "affine"


def published_split(names: Sequence[str], counts: Sequence[int], title: str) -> dict[str, list[str]]:
    """Split the subjects of a published data set in the order of their names.

    Args:
        names: names of the subjects.
        counts: published numbers of subjects for training, validation and test.
        title: name of the data set in messages.

    Returns:
        The names for "train", "val" and "test".

    Raises:
        InputError: if there are too few subjects.
    """
    if len(names) != sum(counts):
        logger.warning(
            "%s: %d subjects were found, not %d (%s), so the split has the same shares.",
            title, len(names), sum(counts), "/".join(map(str, counts)),
        )  # fmt: skip
    return split_in_shares(names, counts)


def split_in_shares(names: Sequence[str], shares: Sequence[int]) -> dict[str, list[str]]:
    """Split subjects in the order of their names, with at least two in each part.

    Args:
        names: names of the subjects.
        shares: shares of training, validation and test, in any unit; 0 for no test.

    Returns:
        The names for "train", "val" and "test".

    Raises:
        InputError: if there are too few subjects.
    """
    val, test = (max(2, round(len(names) * share / sum(shares))) if share else 0 for share in shares[1:])
    train = len(names) - val - test
    if train < 2:
        raise InputError(
            f"Subjects found: {len(names)}; at least {2 * sum(share > 0 for share in shares)} are needed, two per part."
        )
    ordered = sorted(names)
    return dict(zip(PARTS, (ordered[:train], ordered[train : train + val], ordered[train + val :]), strict=True))
