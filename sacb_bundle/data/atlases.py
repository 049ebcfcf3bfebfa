"""Labelled atlases, whose labels are transferred to scans."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..config_text import check_plain_text
from ..errors import InputError
from ..files import read_json
from ..spatial import is_label

IMAGE, LABELS, NAMES = "image.nii.gz", "labels.nii.gz", "labels.json"


@dataclass(frozen=True)
class Atlas:
    """An image with a label map.

    Attributes:
        name: name of the folder.
        image: path of the image.
        labels: path of the label map, on the image's grid.
        names: name of each label value.
    """

    name: str
    image: Path
    labels: Path
    names: dict[int, str]


def read_atlas(folder: str | Path) -> Atlas:
    """Read the atlas in a folder: image.nii.gz, labels.nii.gz, and labels.json, {"1": "name of label 1", ...}.

    Args:
        folder: path of the folder.

    Returns:
        The paths of the image and the label map, which are not read, and the names of the labels.

    Raises:
        InputError: if a file is missing, a config would take the name of the folder for code, or labels.json is
            invalid, see `read_label_names`.
    """
    root = Path(folder)
    check_plain_text(root.name, str(root))
    for name in (IMAGE, LABELS, NAMES):
        if not os.path.isfile(root / name):
            raise InputError(f"{root / name}: no such file; an atlas is a folder with {IMAGE}, {LABELS} and {NAMES}.")
    return Atlas(root.name, root / IMAGE, root / LABELS, read_label_names(root / NAMES))


def read_label_names(path: Path) -> dict[int, str]:
    """Read label names from a JSON file {"1": "name of label 1", ...}.

    Args:
        path: path of the file.

    Returns:
        The name of each label value.

    Raises:
        InputError: if the file holds no such object, a name occurs twice (MONAI Label ignores case) or is that of the
            background, or a config would take a name for code.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content or not all(
        is_label(value) and int(value) > 0 and isinstance(name, str) and name.isprintable() and name
        for value, name in content.items()
    ):  # fmt: skip
        raise InputError(f'{path}: must hold an object of label values and names, {{"1": "hippocampus", ...}}.')
    check_plain_text(content, str(path))
    names = {int(value): name for value, name in content.items()}
    shown = [name.strip().lower() for name in names.values()]
    if unfit := sorted({name for name in shown if shown.count(name) > 1 or name in ("", "background")}):
        raise InputError(f"{path}: {unfit} cannot be label names; each must be unique and not background.")
    return names


def shown_names(metadata: str | Path) -> dict[int, str]:
    """Read the label names that MONAI Label shows, the output channels in configs/metadata.json.

    Args:
        metadata: path of configs/metadata.json.

    Returns:
        The name of each label value, with 0 for the background.

    Raises:
        InputError: if the file cannot be read, or is not JSON.
    """
    channels = read_json(Path(metadata))["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {int(value): name for value, name in channels.items()}


def atlas_names(atlas_dir: str | Path) -> list[str]:
    """List the atlases in a folder, each a subfolder.

    Args:
        atlas_dir: path of the folder that holds the atlases.

    Returns:
        The names of the subfolders that hold labels.json, in alphabetical order. `read_atlas` checks their other files.

    Raises:
        InputError: if there are none, or a config would take a name for code.
    """
    root = Path(atlas_dir)
    names = sorted(path.parent.name for path in root.glob(f"*/{NAMES}"))
    check_plain_text(names, str(root))
    if not names:
        raise InputError(f"{root}: holds no atlas, a folder with {IMAGE}, {LABELS} and {NAMES}.")
    return names
