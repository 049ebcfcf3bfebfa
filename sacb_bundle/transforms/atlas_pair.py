"""Pair a scan with the atlas that provides its labels."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.transforms import Transform as MonaiTransform

from ..config_text import check_plain_text
from ..data.atlases import NAMES, atlas_names, read_atlas, shown_names
from ..errors import InputError

FILES = ("fixed_labels", "fixed_mask", "moving_mask")


class AtlasPaird(MonaiTransform):
    """Pair a scan, the path "image", with an atlas: "fixed" is the scan, "moving" and "moving_labels" are the atlas.

    Keys of other files of a pair are removed, since the data comes from a client, which names scans only by id.

    Args:
        atlas_dir: folder of the atlases, see `sacb_bundle.data.read_atlas`.
        metadata: path of configs/metadata.json.

    Raises:
        InputError: if text from the client would be run as code by a config, "atlas" does not name an atlas in the
            folder, or its label names differ from those that the client shows from the metadata. The default is the
            first atlas; a list, as from a client's choices, stands for its first name.
    """

    def __init__(self, atlas_dir: str | Path, metadata: str | Path) -> None:
        self.atlas_dir = Path(atlas_dir)
        self.metadata = metadata

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the items of the pair."""
        if not data["image"]:
            raise InputError("There is no scan of this name; the name of a scan is that of its file without .nii.gz.")
        check_plain_text(dict(data), "the request")
        scan = Path(data["image"])
        names = atlas_names(self.atlas_dir)
        name = data.get("atlas")
        choice = names if name in (None, "") else name
        name = choice[0] if isinstance(choice, list) and choice else choice
        if name not in names:
            raise InputError(f"atlas is {name!r}; it must be one of {', '.join(names)}.")
        atlas = read_atlas(self.atlas_dir / name)
        if not atlas.names.items() <= shown_names(self.metadata).items():
            raise InputError(
                f"{self.atlas_dir / name / NAMES}: the label names differ from those in {self.metadata}, which MONAI "
                "Label shows; make a bundle where both agree with scripts/package_bundle.py --atlas."
            )
        return {
            **{key: value for key, value in data.items() if key not in FILES},
            "id": scan.name,
            "fixed": str(scan),
            "moving": str(atlas.image),
            "moving_labels": str(atlas.labels),
        }
