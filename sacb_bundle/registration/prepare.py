"""Prepare two scans as the input of the network."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt

from ..checks import LARGEST_SPACING_MM, LEAST_SPACING_MM
from ..errors import InputError
from ..intensities import Appearance, appearance_of, check_modality, scale
from ..spatial import (
    INITIAL,
    Body,
    Grid,
    Transform,
    Volume,
    align,
    averaged,
    body_of,
    canonical,
    check_memory,
    common_part,
    fitting_spacing,
    foreground,
    motion,
    resample,
    thinned,
    working_grid,
)
from .pair import ROLES, Pair

# Voxels along each axis that are used to find the content of an image.
MOST_VOXELS_LOOKED_AT = 96

# Scales of an affine alignment differ at least by this.
LEAST_DIFFERENCE_OF_SCALES = 1e-9

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Settings that prepare a pair for a network.

    Attributes:
        trained_spacing_mm: spacing of the training grids.
        size_divisor: number by which each size must be divisible.
        trained_modality: modality of the training, see `intensities`.
        trained_body_mm: sizes of the smallest and largest bodies in the training, see `sacb_bundle.spatial.Body`; None
            if unknown.
        spacing_mm: spacing of the working grid; "auto" for that of the training, unless the images are of another
            size, see `sacb_bundle.spatial.fitting_spacing`.
        initial: alignment before the network, see `sacb_bundle.spatial.align`; or "auto": "none" for images that
            share a grid, which are taken as aligned, and "affine" for others.
        modality: "auto", or the modality of both images.

    Raises:
        InputError: if a value is invalid.
    """

    trained_spacing_mm: float
    size_divisor: int
    trained_modality: str = "mr"
    trained_body_mm: tuple[float, float] | None = None
    spacing_mm: float | str = "auto"
    initial: str = "affine"
    modality: str = "auto"

    def __post_init__(self) -> None:
        spacing = self.trained_spacing_mm if self.spacing_mm == "auto" else self.spacing_mm
        if type(spacing) not in (int, float) or not LEAST_SPACING_MM <= float(spacing) <= LARGEST_SPACING_MM:
            raise InputError(
                f"spacing is {spacing!r}; it must be auto, or a number of mm from {LEAST_SPACING_MM} to "
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
        appearances: interpretation of the intensities of "fixed" and "moving".
        sources: the cleaned images "fixed" and "moving", averaged for the working grid, on grids of their own.
        uniform_scale: whether an affine alignment was given up for one with the same scale in all directions.
        masks: (2, D, H, W) bool, where the moving and the fixed image count; None if the pair has no masks.
    """

    images: np.ndarray
    grid: Grid
    initial: np.ndarray
    appearances: dict[str, Appearance]
    sources: dict[str, Volume]
    uniform_scale: bool = False
    masks: np.ndarray | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """Facts for the record: the interpretation of the intensities, and `uniform_scale`."""
        looks = {
            f"{role}_{name}": value for role, look in self.appearances.items() for name, value in look.facts.items()
        }
        return looks | {"uniform_scale": self.uniform_scale}

    @property
    def volumes(self) -> dict[str, Volume]:
        """The images "moving" and "fixed" on the working grid."""
        return {role: Volume(image, self.grid) for role, image in zip(("moving", "fixed"), self.images, strict=True)}

    def tensors(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the moving and the fixed image on the working grid.

        Args:
            device: device of the tensors.

        Returns:
            The images, each (1, D, H, W).
        """
        moving, fixed = torch.from_numpy(self.images).to(device).split(1)
        return moving, fixed


@dataclass(frozen=True, eq=False)
class Scan:
    """An image and its mask, with axes closest to RAS, and their content.

    Attributes:
        image: image.
        mask: mask on its grid, or None.
        appearance: interpretation of its intensities.
        body: position and size of the body in it.
    """

    image: Volume
    mask: Volume | None
    appearance: Appearance
    body: Body

    @classmethod
    def of(cls, pair: Pair, role: str, settings: Settings) -> Scan:
        """Analyse an image of a pair.

        Args:
            pair: pair of images.
            role: "fixed" or "moving".
            settings: settings of the modality.

        Returns:
            The image and its content.

        Raises:
            InputError: if the image is constant.
        """
        # Use one order of the axes, so that the result does not depend on the orientation of the file.
        image, mask = (volume and canonical(volume) for volume in (getattr(pair, role), getattr(pair, f"{role}_mask")))
        few = thinned(image, MOST_VOXELS_LOOKED_AT)
        appearance = appearance_of(few.values, settings.modality, settings.trained_modality, role)
        values = appearance.cleaned(few.values)
        if mask is not None:
            values = np.where(thinned(mask, MOST_VOXELS_LOOKED_AT).values != 0, values, appearance.darkest)
        return cls(image, mask, appearance, body_of(Volume(values, few.grid)))

    def averaged(self, spacing_mm: float) -> tuple[Volume, Volume | None]:
        """Average image and mask for a grid of a spacing.

        Args:
            spacing_mm: spacing of the grid that they will be sampled on.

        Returns:
            The image, cleaned and with background outside its mask, and the mask or None, on one grid.
        """
        image, mask = self.image, self.mask
        if mask is not None:
            image = Volume(np.where(mask.values != 0, image.values, self.appearance.darkest), image.grid)
            mask = averaged(Volume((mask.values != 0).astype(np.uint8), mask.grid), spacing_mm)
        image = averaged(image, spacing_mm)
        return Volume(self.appearance.cleaned(image.values), image.grid), mask


def prepare(pair: Pair, settings: Settings, align: Callable[..., np.ndarray] = align) -> Prepared:
    """Align a pair, resample both images to the working grid, and scale their intensities.

    Args:
        pair: pair to prepare.
        settings: settings of the working grid, the alignment and the intensities.
        align: function that aligns the images, with the arguments of `sacb_bundle.spatial.align`.

    Returns:
        The prepared pair.

    Raises:
        InputError: if the images do not overlap, or one is constant or almost empty.
    """
    scans = {role: Scan.of(pair, role, settings) for role in ROLES}
    kind = settings.initial
    if kind == "auto":
        kind = "none" if pair.moving.grid.coincides_with(pair.fixed.grid) else "affine"
    spacing = settings.spacing_mm
    if isinstance(spacing, str):
        size = scans["fixed"].body.size
        # An affine alignment scales the moving image to the size of the fixed one.
        scales = {role: size / scan.body.size if kind == "affine" else 1.0 for role, scan in scans.items()}
        voxels = max(min(scan.image.grid.spacing) * scales[role] for role, scan in scans.items())
        spacing = fitting_spacing(settings.trained_spacing_mm, settings.trained_body_mm, size, voxels)
    (fixed, fixed_mask), (moving, moving_mask) = (scans[role].averaged(spacing) for role in ROLES)
    initial = align(fixed, moving, kind, fixed_mask, moving_mask)

    shown = fixed_mask or foreground(fixed)
    common = common_part(shown, moving_mask or foreground(moving), initial)
    grid = working_grid(common or shown, spacing, settings.size_divisor)
    check_memory(grid)
    report(grid, initial, common is not None)

    on_grid = {
        "moving": resample(Transform(initial), grid, [moving]).images[0].values,
        "fixed": resample(Transform(), grid, [fixed]).images[0].values,
    }
    # Continue both images beyond a field of view: an edge in one alone would draw the other to it.
    seen = _seen_by_both(grid, fixed.grid, moving.grid, initial)
    if not seen.all() and seen.any():
        nearest = distance_transform_edt(~seen, return_distances=False, return_indices=True)
        on_grid = {role: image[tuple(nearest)] for role, image in on_grid.items()}
    if common is not None:
        kept = resample(Transform(), grid, labels=[common]).labels[0].values > 0
        on_grid = {role: np.where(kept, image, image.min()) for role, image in on_grid.items()}

    appearances = {role: scan.appearance for role, scan in scans.items()}
    if any(look.modality != settings.trained_modality != "auto" for look in appearances.values()):
        logger.warning(
            "The network was trained on %s, but fixed is %s and moving is %s. The result may be worse than the "
            "alignment alone (initial.tfm); compare them.",
            settings.trained_modality.upper(), *(appearances[role].modality.upper() for role in ROLES),
        )  # fmt: skip
    scaled = [scale(image, appearances[role].modality, role) for role, image in on_grid.items()]
    scales = np.linalg.svd(initial[:3, :3])[1]
    alike = kind == "affine" and bool(np.ptp(scales) < LEAST_DIFFERENCE_OF_SCALES)
    masks = _masks_on(grid, initial, moving_mask, fixed_mask)
    return Prepared(np.stack(scaled), grid, initial, appearances, {"fixed": fixed, "moving": moving}, alike, masks)


def _masks_on(grid: Grid, initial: np.ndarray, moving: Volume | None, fixed: Volume | None) -> np.ndarray | None:
    """Return the masks on a grid, bool (2, D, H, W), all True for an image without one; None if there are none."""
    if moving is None and fixed is None:
        return None
    return np.stack(
        [
            np.ones(grid.shape, bool) if mask is None else resample(way, grid, labels=[mask]).labels[0].values > 0
            for way, mask in ((Transform(initial), moving), (Transform(), fixed))
        ]
    )


def _seen_by_both(grid: Grid, fixed: Grid, moving: Grid, initial: np.ndarray) -> np.ndarray:
    """Return which voxels of a grid lie in the fields of view of both images, bool (D, H, W)."""
    seen = np.ones(grid.shape, bool)
    for transform, image in ((Transform(), fixed), (Transform(initial), moving)):
        field_of_view = Volume(np.ones(image.shape, np.int32), image)
        seen &= resample(transform, grid, labels=[field_of_view]).labels[0].values > 0
    return seen


def report(grid: Grid, initial: np.ndarray, only_common: bool) -> None:
    """Log the working grid and the alignment.

    Args:
        grid: working grid.
        initial: 4x4 matrix from fixed to moving world coordinates in mm, RAS.
        only_common: whether only the part that both images show is registered.
    """
    logger.info("working grid: %s", grid)
    logger.info("alignment: shift %.1f mm, rotation %.1f degrees, scale %.3f", *motion(initial, grid).values())
    if only_common:
        logger.info("only the region in both images is registered; the field is extrapolated smoothly beyond it")
