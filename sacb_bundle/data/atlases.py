"""Labelled atlases, whose labels are carried over to scans."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .dataset_folder import read_json

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
        InputError: if a file is missing, or labels.json is no such object.
    """
    root = Path(folder)
    for name in (IMAGE, LABELS, NAMES):
        if not (root / name).is_file():
            raise InputError(f"{root / name}: no such file; an atlas is a folder with {IMAGE}, {LABELS} and {NAMES}.")
    content = read_json(root / NAMES)
    if not isinstance(content, dict) or not content or not all(
        value.isdecimal() and int(value) > 0 and isinstance(name, str) and name for value, name in content.items()
    ):  # fmt: skip
        raise InputError(f'{root / NAMES}: must hold an object of label values and names, {{"1": "hippocampus", ...}}.')
    return Atlas(root.name, root / IMAGE, root / LABELS, {int(value): name for value, name in content.items()})


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
