"""From two scans as they are stored to one input of the network."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from ..errors import InputError
from ..networks.sacb_net import SIZE_DIVISOR
from ..spatial import (
    Grid,
    Volume,
    align,
    averaged,
    common_part,
    foreground,
    read_image,
    read_label_map,
    resample,
    working_grid,
)
from ..spatial import Transform as SpatialTransform

# In mm, of a working grid.
LEAST_SPACING, LARGEST_SPACING = 0.1, 20.0

logger = logging.getLogger(__name__)


class ToWorkingGridd(Transform):
    """Read a pair of scans of any geometry, align them, and bring both to the grid that the network works on.

    It reads the files named by "fixed" and "moving", and by "fixed_mask" and "moving_mask" if present: outside its
    mask, an image counts as background. It adds

    - "image": (2, D, H, W) fp32, moving and fixed on the working grid, in their own intensities;
    - "working_affine": 4x4 fp64, voxels of that grid to world coordinates in mm, RAS;
    - "initial_affine": 4x4 fp64, from fixed to moving world coordinates in mm, RAS;
    - "alignment": see `motion`.

    Args:
        initial: alignment before the network, see `sacb_bundle.spatial.align`.
        spacing: of the working grid in mm: that which the network was trained on.

    Raises:
        InputError: if a file is not such a scan, or the images do not overlap.
    """

    def __init__(self, initial: str, spacing: float) -> None:
        if not LEAST_SPACING <= spacing <= LARGEST_SPACING:
            raise InputError(f"spacing is {spacing}; it must be a length from {LEAST_SPACING} to {LARGEST_SPACING} mm.")
        self.initial = initial
        self.spacing = float(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the items."""
        images, masks = {}, {}
        for role in ("fixed", "moving"):
            images[role], masks[role] = read_averaged(data[role], data.get(f"{role}_mask"), self.spacing)
        logger.info("%s: aligning (%s)", data["id"], self.initial)
        initial = align(images["fixed"], images["moving"], self.initial, masks["fixed"], masks["moving"])
        shown = {role: masks[role] or foreground(images[role]) for role in images}
        common = common_part(shown["fixed"], shown["moving"], initial)
        grid = working_grid(common or shown["fixed"], self.spacing, SIZE_DIVISOR)
        logger.info("%s: working grid of %s", data["id"], grid)
        moved = motion(initial, grid)
        logger.info(
            "%s: the alignment moves by %.1f mm, turns by %.1f degrees, scales by %.3f", data["id"], *moved.values()
        )
        pair = [
            resample(transform, grid, [images[role]]).images[0].values
            for role, transform in (("moving", SpatialTransform(initial)), ("fixed", SpatialTransform()))
        ]
        if common is not None:
            logger.info("%s: only what both images show is registered; beyond, the field goes on smoothly", data["id"])
            kept = resample(SpatialTransform(), grid, labels=[common]).labels[0].values > 0
            pair = [np.where(kept, image, image.min()) for image in pair]
        return {
            **data,
            "image": torch.from_numpy(np.stack(pair)),
            "working_affine": torch.from_numpy(grid.affine),
            "initial_affine": torch.from_numpy(initial),
            "alignment": moved,
        }


def read_averaged(path: str, mask_path: str | None, spacing: float) -> tuple[Volume, Volume | None]:
    """Image, background outside its mask, and the mask if there is one, averaged for a working grid."""
    volume = read_image(path)
    if mask_path is None:
        return averaged(volume, spacing), None
    mask = read_label_map(mask_path)
    if not mask.grid.coincides_with(volume.grid):
        raise InputError(f"{mask_path} has {mask.grid}, but {path} has {volume.grid}. A mask lies on its image's grid.")
    if not mask.values.any():
        raise InputError(f"{mask_path}: every voxel is 0; a mask is not 0 where the image counts.")
    inside = volume.values[mask.values != 0]
    if inside.min() == inside.max():
        raise InputError(
            f"{mask_path}: where it is not 0, every voxel of {path} is {inside[0]:g}; there is nothing to see."
        )
    kept = Volume(np.where(mask.values != 0, volume.values, volume.values.min()), volume.grid)
    return averaged(kept, spacing), averaged(Volume((mask.values != 0).astype(np.uint8), mask.grid), spacing)


def motion(matrix: np.ndarray, grid: Grid) -> dict[str, float]:
    """What an affine transform does to a grid: it shifts its middle, turns and scales it."""
    centre = grid.corners.mean(axis=0)
    left, sizes, right = np.linalg.svd(matrix[:3, :3])
    return {
        "shift_mm": float(np.linalg.norm(matrix[:3, :3] @ centre + matrix[:3, 3] - centre)),
        "turn_degrees": float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))),
        "scale": float(np.prod(sizes) ** (1 / 3)),
    }
