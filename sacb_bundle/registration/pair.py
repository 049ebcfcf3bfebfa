"""Two images to register, with their label maps and masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..spatial import Volume, as_image, as_label_map, as_mask, as_volume, check_same_grid, source_name, volume_name

ROLES = ("fixed", "moving")
# Every image that a pair may have.
IMAGES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_mask", "moving_mask")


@dataclass(frozen=True, eq=False)
class Pair:
    """A pair of images, each on its own grid.

    Attributes:
        fixed: fixed image.
        moving: moving image.
        fixed_labels: label map on the fixed image's grid, or None.
        moving_labels: label map on the moving image's grid, or None.
        fixed_mask: mask on the fixed image's grid, nonzero where the image counts; None for the whole image.
        moving_mask: mask on the moving image's grid, likewise.
        names: names of the fixed and the moving image, for file names.
    """

    fixed: Volume
    moving: Volume
    fixed_labels: Volume | None = None
    moving_labels: Volume | None = None
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    names: tuple[str, str] = ROLES

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each file, by role."""
        return {role: volume.sha256 for role, volume in vars(self).items() if getattr(volume, "sha256", "")}


def as_pair(images: Mapping[Any, Any]) -> Pair:
    """Read a pair, each file once.

    Args:
        images: paths or images in memory, see `sacb_bundle.spatial.as_volume`: "fixed" and "moving", and optionally
            "fixed_labels", "moving_labels", "fixed_mask" and "moving_mask".

    Returns:
        The pair.

    Raises:
        InputError: if one is invalid, or a label map or mask is not on its image's grid.
    """
    volumes: dict[str, Volume] = {}
    for role in ROLES:
        image_name = source_name(images[role], role)
        volumes[role] = as_image(as_volume(images[role], role), image_name)
        for kind in ("labels", "mask"):
            source = images.get(f"{role}_{kind}")
            if source is None:
                continue
            name = source_name(source, f"{role} {kind.removesuffix('s')}")
            volume = as_volume(source, f"{role} {kind.removesuffix('s')}")
            volumes[f"{role}_{kind}"] = as_mask(volume, name) if kind == "mask" else as_label_map(volume, name)
            check_same_grid(name, volumes[f"{role}_{kind}"].grid, image_name, volumes[role].grid)
            if kind == "mask":
                _check_mask(volumes[f"{role}_mask"], volumes[role], name)
    names = tuple(volume_name(images[role]) if isinstance(images[role], (str, Path)) else role for role in ROLES)
    return Pair(**volumes, names=names)  # type: ignore[arg-type]


def label_map_of(image: object, role: str) -> Volume:
    """Return a label map or mask, given as a path or in memory.

    Args:
        image: path or image in memory, see `sacb_bundle.spatial.as_volume`.
        role: role of the label map in error messages, such as "fixed label".

    Returns:
        The label map as int32.

    Raises:
        InputError: if it is not a valid label map.
    """
    return as_label_map(as_volume(image, role), source_name(image, role))


def _check_mask(mask: Volume, image: Volume, name: str) -> None:
    """Raise an InputError unless the image varies where the mask is nonzero."""
    inside = image.values[mask.values != 0]
    if not inside.size:
        raise InputError(f"{name}: every voxel is 0; a mask must be nonzero where the image counts.")
    if inside.min() == inside.max():
        raise InputError(
            f"{name}: every voxel of the image within the mask is {inside[0]:g}; there is nothing to register."
        )
