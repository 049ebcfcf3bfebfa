"""Interpret the intensities of a scan, and scale them to [0, 1] for the network by the rule of the modality."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.ndimage import label

from .errors import InputError

AIR_HU = -1000.0
# Air of a CT, with noise, and soft tissue with fat and contrast agent.
AIR_RANGE_HU = (-1150.0, -850.0)
TISSUE_RANGE_HU = (-200.0, 300.0)
LEAST_AIR_SHARE, LEAST_TISSUE_SHARE = 0.02, 0.1
# A background of a CT lies below this: it is air, or the padding around the field of view.
HIGHEST_CT_BACKGROUND_HU = -500.0
# Percentiles of the range that counts, without outliers.
ROBUST_PERCENTILES = (0.5, 99.5)
# Difference from 0 to 1 that a rule may have by rounding.
ROUNDING = 1e-5
# Percentile of an MR image that is scaled to 1.
BRIGHTEST_PERCENTILE = 99.9
# Intensities are equal within this share of the robust range.
TOLERANCE_SHARE = 0.02
# Least share of the faces of an image that a background fills.
LEAST_BACKGROUND_SHARE = 0.5
# Intensities further above the darkest one than this multiple of the 99th percentile of the foreground are outliers.
OUTLIER_FACTOR = 4.0


@dataclass(frozen=True)
class Appearance:
    """Modality, background and range of a scan, determined from its intensities.

    Attributes:
        modality: key of `RULES`.
        background: intensity of the background; None if the faces of the image do not show one.
        darkest: lowest intensity that counts; outliers below it and a background above it are set to it.
        brightest: highest intensity that counts.
        tolerance: difference below which intensities count as equal.
    """

    modality: str
    background: float | None
    darkest: float
    brightest: float
    tolerance: float

    @property
    def facts(self) -> dict[str, Any]:
        """Modality, background and range, in types that JSON can hold: None for no background or no upper limit."""
        brightest = self.brightest if np.isfinite(self.brightest) else None
        return {"modality": self.modality, "background": self.background, "range": [self.darkest, brightest]}

    def cleaned(self, image: np.ndarray) -> np.ndarray:
        """Give the background the lowest intensity, and clip outliers.

        Args:
            image: intensities (D, H, W).

        Returns:
            The image (D, H, W) fp32, whose minimum is `darkest`.
        """
        image = image.astype(np.float32)
        if self.background is not None and self.background > self.darkest + self.tolerance:
            image[_connected_to_faces(np.abs(image - self.background) <= self.tolerance)] = self.darkest
        return np.clip(image, self.darkest, self.brightest)


def appearance_of(image: np.ndarray, modality: str, trained_modality: str, name: str) -> Appearance:
    """Determine modality, background and range of an image from the distribution of its intensities.

    Single voxels have no influence. The background is the most common intensity on the faces of the image, if it fills
    half of them; it may be dark, bright or within the range of the tissue. A CT shows air at -1000 HU and soft tissue
    around 0.

    Args:
        image: intensities (D, H, W) of the whole scan.
        modality: "auto", or a key of `RULES`, which is used as it is.
        trained_modality: modality of the training. "auto" keeps it, unless it is MR or "auto" itself: then the
            intensities decide between CT and MR.
        name: name of the image in error messages.

    Returns:
        The interpretation of the intensities.

    Raises:
        InputError: if the image is constant.
    """
    low, high = (float(value) for value in np.percentile(image, ROBUST_PERCENTILES))
    if high <= low:  # the foreground is tiny
        low, high = float(image.min()), float(image.max())
    if high <= low:
        raise InputError(f"The {name} image is constant: every voxel is {low:g}.")
    tolerance = TOLERANCE_SHARE * (high - low)
    background = _background_of(image, low, high, tolerance)
    if modality == "auto":
        modality = trained_modality if trained_modality not in ("auto", "mr") else _modality_of(image, background)
    is_lowest = background is not None and background <= low + tolerance
    if in_hounsfield_units(modality):
        if background is not None and not is_lowest and background > HIGHEST_CT_BACKGROUND_HU:
            background = None  # it is tissue at the faces of a crop
        return Appearance(modality, background, AIR_HU, float(np.inf), tolerance)
    inside = image if background is None else image[np.abs(image - background) > tolerance]
    darkest = low
    if background is not None and is_lowest:
        darkest = background
    elif background is not None and inside.size:
        darkest = float(np.percentile(inside, ROBUST_PERCENTILES[0]))
    foreground = inside[inside > darkest + tolerance]
    bright = float(np.percentile(foreground, 99)) if foreground.size else high
    return Appearance(modality, background, darkest, darkest + OUTLIER_FACTOR * (bright - darkest), tolerance)


def _background_of(image: np.ndarray, low: float, high: float, tolerance: float) -> float | None:
    """Return the most common intensity on the faces of an image; None if no intensity is common there."""
    faces = np.concatenate([image.take(place, axis).ravel() for axis in range(3) for place in (0, -1)])
    counts, edges = np.histogram(faces.clip(low, high), bins=round(1 / TOLERANCE_SHARE), range=(low, high))
    fullest = int(counts.argmax())
    within = faces[(faces.clip(low, high) >= edges[fullest]) & (faces.clip(low, high) <= edges[fullest + 1])]
    background = float(np.median(within))
    common = float((np.abs(faces - background) <= tolerance).mean())
    return background if common >= LEAST_BACKGROUND_SHARE else None


def _modality_of(image: np.ndarray, background: float | None) -> str:
    """Return "ct" for an image with air and soft tissue in Hounsfield units, else "mr"."""
    shown = image if background is None else image[image > background]
    tissue = _share_within(shown, TISSUE_RANGE_HU)
    if background is not None:
        return "ct" if background <= HIGHEST_CT_BACKGROUND_HU and tissue >= LEAST_TISSUE_SHARE else "mr"
    air = _share_within(image, AIR_RANGE_HU)
    return "ct" if air >= LEAST_AIR_SHARE and tissue >= LEAST_TISSUE_SHARE else "mr"


def _share_within(values: np.ndarray, limits: tuple[float, float]) -> float:
    """Return the share of values within limits."""
    return float(((values >= limits[0]) & (values <= limits[1])).mean()) if values.size else 0.0


def _connected_to_faces(mask: np.ndarray) -> np.ndarray:
    """Return the connected components of a mask that touch a face of the array."""
    components, _ = label(mask)
    faces = [np.unique(components.take(place, axis)) for axis in range(3) for place in (0, -1)]
    touching = np.unique(np.concatenate(faces))
    return np.isin(components, touching[touching > 0])


@dataclass(frozen=True)
class Curve:
    """Rule that maps given intensities to given values, is linear between them, and constant beyond the outermost.

    Attributes:
        knots: value of each given intensity.
        hounsfield: whether the intensities are Hounsfield units, so that the background counts as air.

    Raises:
        ValueError: if there are fewer than two knots.
    """

    knots: Mapping[float, float]
    hounsfield: bool = False

    def __post_init__(self) -> None:
        if len(self.knots) < 2:
            raise ValueError(f"the curve through {dict(self.knots)} needs two knots or more")

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Scale an image of any shape, to fp32."""
        intensities, values = zip(*sorted(self.knots.items()), strict=True)
        return np.interp(image, intensities, values).astype(np.float32)


def _from_minimum(percentile: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the rule that maps the minimum to 0 and a percentile to 1, and clips values above."""

    def rule(image: np.ndarray) -> np.ndarray:
        low, high = float(image.min()), float(np.percentile(image, percentile))
        return np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)

    return rule


# Add yours: RULES["abdomen"] = Curve({-200: 0, 400: 1}, hounsfield=True).
RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mr": _from_minimum(BRIGHTEST_PERCENTILE),
    # Organs differ by a few tens of HU, so that soft tissue takes most of the range; lungs and bones stay visible.
    "ct": Curve({-1000: 0, -160: 0.15, 300: 0.85, 1000: 1}, hounsfield=True),
}


def in_hounsfield_units(modality: str) -> bool:
    """Return whether images of a modality are in Hounsfield units.

    Args:
        modality: key of `RULES`.

    Returns:
        True if its rule is a `Curve` of Hounsfield units.
    """
    rule = RULES[modality]
    return isinstance(rule, Curve) and rule.hounsfield


def check_modality(modality: str, name: str = "modality") -> None:
    """Check that there is a rule for a modality.

    Args:
        modality: "auto", or the name of a modality.
        name: name of the option, or path and key in a file, for the error message.

    Raises:
        InputError: if the modality is neither "auto" nor a key of `RULES`.
    """
    if not isinstance(modality, str) or modality not in ("auto", *RULES):
        raise InputError(f"{name} is {modality!r}; it must be one of auto, {', '.join(RULES)}.")


def scale(image: np.ndarray, modality: str, name: str) -> np.ndarray:
    """Scale an image to [0, 1] by the rule of its modality.

    Args:
        image: intensities, fp32, of any shape.
        modality: key of `RULES`.
        name: name of the image in error messages.

    Returns:
        The scaled image, fp32.

    Raises:
        InputError: if almost all of the image has its lowest value, or the rule gives values outside [0, 1].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.asarray(RULES[modality](image))
    if scaled.shape != image.shape or scaled.dtype.kind not in "fiub":
        raise InputError(f"The rule {modality} must return an array of numbers of the shape of the image.")
    scaled = scaled.astype(np.float32, copy=False)
    if not np.isfinite(scaled).all() and image.min() == np.percentile(image, BRIGHTEST_PERCENTILE):
        raise InputError(
            f"The {name} image is almost empty: 99.9 % of the registered region has its lowest value. Crop it to the "
            "anatomy to register."
        )
    if not (scaled.min() >= -ROUNDING and scaled.max() <= 1 + ROUNDING):
        raise InputError(
            f"The rule {modality} scales the {name} image to {scaled.min():g} to {scaled.max():g}; it must be 0 to 1."
        )
    return scaled.clip(0, 1)
