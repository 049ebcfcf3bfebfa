"""Prepare two scans as the input of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..spatial import (
    INITIAL,
    Grid,
    Transform,
    Volume,
    align,
    averaged,
    canonical,
    common_part,
    foreground,
    resample,
    working_grid,
)
from .intensities import check_modality, modality_of, scale
from .pair import ROLES, Pair

LEAST_SPACING_MM, LARGEST_SPACING_MM = 0.1, 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings that prepare a pair for a network.

    Attributes:
        spacing_mm: spacing of the working grid, usually that of the training.
        size_divisor: number by which each size must be divisible.
        trained_modality: modality of the training, see `intensities`.
        initial: alignment before the network, see `sacb_bundle.spatial.align`; or "auto": "none" for images that
            share a grid, which are taken as aligned, and "affine" for others.
        modality: "auto", or the modality of both images.

    Raises:
        InputError: if a value is invalid.
    """

    spacing_mm: float
    size_divisor: int
    trained_modality: str = "mr"
    initial: str = "affine"
    modality: str = "auto"

    def __post_init__(self) -> None:
        number = type(self.spacing_mm) in (int, float)
        if not number or not LEAST_SPACING_MM <= self.spacing_mm <= LARGEST_SPACING_MM:
            raise InputError(
                f"spacing is {self.spacing_mm!r}; it must be a number of mm from {LEAST_SPACING_MM} to "
                f"{LARGEST_SPACING_MM}."
            )
        if self.initial not in (*INITIAL, "auto"):
            raise InputError(f"initial is {self.initial!r}; it must be one of {', '.join(INITIAL)}.")
        check_modality(self.modality)
        check_modality(self.trained_modality)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A pair prepared for the network.

    Attributes:
        images: (2, D, H, W) fp32 in [0, 1], moving and fixed on the working grid; the moving image is aligned.
        grid: working grid.
        initial: 4x4 matrix from fixed to moving world coordinates in mm, RAS.
        modalities: modality of "fixed" and "moving".
    """

    images: np.ndarray
    grid: Grid
    initial: np.ndarray
    modalities: dict[str, str]


def prepare(pair: Pair, settings: Settings, align: Callable[..., np.ndarray] = align) -> Prepared:
    """Align a pair, resample both images to the working grid, and scale their intensities.

    Args:
        pair: pair to prepare.
        settings: settings of the working grid, the alignment and the intensities.
        align: function that aligns the images, with the arguments of `sacb_bundle.spatial.align`.

    Returns:
        The prepared pair.

    Raises:
        InputError: if the images do not overlap, or one is almost empty.
    """
    # Use one order of the axes, so that the result does not depend on the orientation of the file.
    volumes = {role: volume and canonical(volume) for role, volume in vars(pair).items() if role != "names"}
    images = {role: _masked(volumes[role], volumes[f"{role}_mask"], settings.spacing_mm) for role in ROLES}
    masks = {role: _averaged_mask(volumes[f"{role}_mask"], settings.spacing_mm) for role in ROLES}
    kind = settings.initial
    if kind == "auto":
        kind = "none" if pair.moving.grid.coincides_with(pair.fixed.grid) else "affine"
    initial = align(images["fixed"], images["moving"], kind, masks["fixed"], masks["moving"])

    shown = {role: masks[role] or foreground(images[role]) for role in ROLES}
    common = common_part(shown["fixed"], shown["moving"], initial)
    grid = working_grid(common or shown["fixed"], settings.spacing_mm, settings.size_divisor)
    report(grid, initial, common is not None)

    transforms = {"fixed": Transform(), "moving": Transform(initial)}
    on_grid = {role: resample(transforms[role], grid, [images[role]]).images[0].values for role in ROLES}
    if common is not None:
        kept = resample(Transform(), grid, labels=[common]).labels[0].values > 0
        on_grid = {role: np.where(kept, image, image.min()) for role, image in on_grid.items()}

    modalities = {
        role: modality_of(image, settings.modality, settings.trained_modality) for role, image in on_grid.items()
    }
    if settings.trained_modality != "auto" and set(modalities.values()) != {settings.trained_modality}:
        logger.warning(
            "The network was trained on %s, but fixed is %s and moving is %s. The result may be worse than the "
            "alignment alone (initial.tfm); compare them.",
            settings.trained_modality.upper(), modalities["fixed"].upper(), modalities["moving"].upper(),
        )  # fmt: skip
    scaled = [scale(on_grid[role], modalities[role], role) for role in ("moving", "fixed")]
    return Prepared(np.stack(scaled), grid, initial, modalities)


def _masked(image: Volume, mask: Volume | None, spacing_mm: float) -> Volume:
    """Return an image averaged for a working grid of a spacing, with its minimum outside the mask."""
    if mask is None:
        return averaged(image, spacing_mm)
    return averaged(Volume(np.where(mask.values != 0, image.values, image.values.min()), image.grid), spacing_mm)


def _averaged_mask(mask: Volume | None, spacing_mm: float) -> Volume | None:
    """Return a mask on the grid of the image that `_masked` returns."""
    return None if mask is None else averaged(Volume((mask.values != 0).astype(np.uint8), mask.grid), spacing_mm)


def report(grid: Grid, initial: np.ndarray, only_common: bool) -> None:
    """Log the working grid and the alignment."""
    logger.info("working grid: %s", grid)
    logger.info("alignment: shift %.1f mm, rotation %.1f degrees, scale %.3f", *motion(initial, grid).values())
    if only_common:
        logger.info("only the region in both images is registered; the field is extrapolated smoothly beyond it")


def motion(initial: np.ndarray, grid: Grid) -> dict[str, float]:
    """Return the shift (mm) of the centre of a grid by an affine transform, its rotation (degrees) and its scale."""
    centre = grid.corners.mean(axis=0)
    left, sizes, right = np.linalg.svd(initial[:3, :3])
    return {
        "shift_mm": float(np.linalg.norm(initial[:3, :3] @ centre + initial[:3, 3] - centre)),
        "turn_degrees": float(np.degrees(np.arccos(np.clip((np.trace(left @ right) - 1) / 2, -1, 1)))),
        "scale": float(np.prod(sizes) ** (1 / 3)),
    }
