"""Labelled atlases, whose labels are carried over to scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import read_json

IMAGE, LABELS, NAMES = "image.nii.gz", "labels.nii.gz", "labels.json"


@dataclass(frozen=True)
class Atlas:
    """A labelled image.

    Attributes:
        name: of its folder.
        image: path.
        labels: path of the label map, on the image's grid.
        names: of the label values.
    """

    name: str
    image: Path
    labels: Path
    names: dict[int, str]


def read_atlas(folder: str | Path) -> Atlas:
    """The atlas in a folder: image.nii.gz, labels.nii.gz, and labels.json, {"1": "name of label 1", ...}.

    Raises:
        InputError: if a file is missing, or labels.json is not as `read_label_names` wants it.
    """
    root = Path(folder)
    for name in (IMAGE, LABELS, NAMES):
        if not (root / name).is_file():
            raise InputError(f"{root / name}: no such file; an atlas is a folder with {IMAGE}, {LABELS} and {NAMES}.")
    return Atlas(root.name, root / IMAGE, root / LABELS, read_label_names(root / NAMES))


def read_label_names(path: Path) -> dict[int, str]:
    """Names of label values, from a JSON file {"1": "name of label 1", ...}.

    Raises:
        InputError: if it holds no such object, or a name is there twice (MONAI Label tells no upper from lower case) or
            that of the background.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not content or not all(
        value.isdecimal() and int(value) > 0 and isinstance(name, str) and name for value, name in content.items()
    ):  # fmt: skip
        raise InputError(f'{path}: must hold an object of label values and names, {{"1": "hippocampus", ...}}.')
    names = {int(value): name for value, name in content.items()}
    shown = [name.strip().lower() for name in names.values()]
    if unfit := sorted({name for name in shown if shown.count(name) > 1 or name in ("", "background")}):
        raise InputError(f"{path}: {unfit} cannot name a label; each has a name of its own, not background.")
    return names


def shown_names(metadata: str | Path) -> dict[int, str]:
    """Names of label values that MONAI Label shows, the channels of the output in configs/metadata.json."""
    channels = read_json(Path(metadata))["network_data_format"]["outputs"]["pred"]["channel_def"]
    return {int(value): name for value, name in channels.items()}


def atlas_names(atlas_dir: str | Path) -> list[str]:
    """Names of the atlases in a folder, each a folder of its own, in alphabetical order.

    Raises:
        InputError: if there is none.
    """
    root = Path(atlas_dir)
    names = sorted(path.parent.name for path in root.glob(f"*/{NAMES}"))
    if not names:
        raise InputError(f"{root}: holds no atlas, a folder with {IMAGE}, {LABELS} and {NAMES}.")
    return names
