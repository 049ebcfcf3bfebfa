"""Scale intensities to [0, 1] for the network, with one rule for each modality."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from ..errors import InputError

# Air in a CT has values below this; MR images, and CTs shifted to positive values, do not.
CT_BELOW_HU = -500.0

logger = logging.getLogger(__name__)


def window(low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the rule that maps low to 0 and high to 1, and clips values outside."""
    return lambda image: np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)


def _from_minimum(percentile: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the rule that maps the minimum to 0 and a percentile to 1, and clips values above."""
    return lambda image: window(float(image.min()), float(np.percentile(image, percentile)))(image)


# Add yours: RULES["abdomen"] = window(-200, 400).
RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mr": _from_minimum(99.9), "ct": window(-1000, 1000)}


def check_modality(modality: str) -> None:
    """Raise an InputError unless the modality is "auto" or has a rule."""
    if modality != "auto" and modality not in RULES:
        raise InputError(f"modality is {modality!r}; it must be one of auto, {', '.join(RULES)}.")


def modality_of(image: np.ndarray, modality: str, trained_modality: str) -> str:
    """Return the modality whose rule scales an image.

    Args:
        image: intensities, of any shape.
        modality: "auto", or a key of `RULES`, which is returned unchanged.
        trained_modality: modality of the training. "auto" keeps it, unless it is MR or "auto" itself: then CT is chosen
            for an image with values below -500, and MR for others.
    """
    if modality != "auto":
        return modality
    if trained_modality not in ("auto", "mr"):
        return trained_modality
    return "ct" if image.min() < CT_BELOW_HU else "mr"


def scale(image: np.ndarray, modality: str, name: str) -> np.ndarray:
    """Scale an image to [0, 1] by the rule of its modality.

    Args:
        image: intensities, fp32, of any shape.
        modality: key of `RULES`.
        name: name of the image in error messages.

    Returns:
        The scaled image, fp32.

    Raises:
        InputError: if almost all of the image has its lowest value.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = RULES[modality](image).astype(np.float32, copy=False)
    if not np.isfinite(scaled).all():
        raise InputError(
            f"The {name} image is almost empty: 99.9 % of the registered region has its lowest value. Crop it to the "
            "anatomy to register."
        )
    return scaled
