"""Reasons to review a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..networks import WeightsInfo

LARGEST_FOLDING_PERCENT = 0.5
# Gain of similarity by the displacement field.
LEAST_GAIN = 0.01
LARGEST_BORDER_MM = 10.0
LARGEST_INVERSE_FAILED_PERCENT = 1.0
LEAST_SCALE, LARGEST_SCALE = 0.7, 1.4
LARGEST_TURN_DEGREES = 45.0
# Mean distance of the deciles of the intensities, scaled to [0, 1], from those of the training images.
LARGEST_CONTRAST_DISTANCE = 0.1
# Ratio of a spacing to that of the training, or its inverse.
LARGEST_SPACING_RATIO = 2.0


def flags_of(measures: Mapping[str, Any], trained_on: Mapping[str, Any] | None) -> list[str]:
    """Return the reasons to review a case, in words; empty if there are none.

    Args:
        measures: measures of the case, see `sacb_bundle.registration.measures`.
        trained_on: "modality", "spacing_mm" and "deciles" (or None) of the training images; None if unknown.
    """
    flags = []
    gain = measures["similarity_after"] - measures["similarity_before"]
    if measures["fixed_modality"] != measures["moving_modality"]:
        flags.append(f"{measures['moving_modality'].upper()} onto {measures['fixed_modality'].upper()}")
    if not LEAST_SCALE <= measures["alignment_scale"] <= LARGEST_SCALE:
        flags.append(f"alignment scales by {measures['alignment_scale']:.2f}")
    if measures["alignment_turn_degrees"] > LARGEST_TURN_DEGREES:
        flags.append(f"alignment turns by {measures['alignment_turn_degrees']:.0f} degrees")
    if measures["folding_percent"] > LARGEST_FOLDING_PERCENT:
        flags.append(f"folds at {measures['folding_percent']:.2f} % of the voxels")
    if measures["inverse_failed_percent"] > LARGEST_INVERSE_FAILED_PERCENT:
        flags.append(f"no inverse at {measures['inverse_failed_percent']:.1f} % of the points")
    if gain < LEAST_GAIN:
        flags.append(f"similarity {'falls' if gain < 0 else 'hardly rises'}: {gain:+.3f}")
    if measures.get("dice_after") is not None and measures["dice_after"] < measures["dice_before"]:
        flags.append(f"Dice falls: {measures['dice_before']:.3f} to {measures['dice_after']:.3f}")
    if "labels" in measures and not measures["labels"]:
        flags.append("label maps have no value in common")
    if measures.get("vanished"):
        flags.append(f"labels vanished: {', '.join(map(str, measures['vanished'][:5]))}")
    if measures["displacement_border_mm"] > LARGEST_BORDER_MM:
        flags.append(f"moves the border of the registered region by {measures['displacement_border_mm']:.0f} mm")
    if trained_on is not None:
        flags += _unlike_training(measures, trained_on)
    return flags


def _unlike_training(measures: Mapping[str, Any], trained_on: Mapping[str, Any]) -> list[str]:
    """Return the differences between the images of a case and the training images, in words."""
    flags = []
    for role in ("fixed", "moving"):
        if trained_on["modality"] not in ("auto", measures[f"{role}_modality"]):
            flags.append(f"{role} image: {measures[f'{role}_modality'].upper()}, unlike training")
            continue
        if trained_on["deciles"] is None:
            continue
        distance = _contrast_distance(measures[f"{role}_deciles"], trained_on["deciles"])
        if distance > LARGEST_CONTRAST_DISTANCE:
            flags.append(f"{role} image: contrast unlike training ({distance:.2f})")
    for role in ("fixed", "moving"):
        coarsest = max(measures[f"{role}_spacing"])
        if coarsest > LARGEST_SPACING_RATIO * trained_on["spacing_mm"]:
            flags.append(f"{role} image: voxels of {coarsest:.3g} mm, training had {trained_on['spacing_mm']:.3g} mm")
    ratio = measures["spacing"] / trained_on["spacing_mm"]
    if max(ratio, 1 / ratio) > LARGEST_SPACING_RATIO:
        flags.append(f"registered at {measures['spacing']:.3g} mm, training had {trained_on['spacing_mm']:.3g} mm")
    return flags


def _contrast_distance(deciles: Sequence[float], reference: Sequence[float]) -> float:
    """Return the mean distance of deciles; infinite if there are none."""
    if not deciles:
        return float("inf")
    return sum(abs(first - second) for first, second in zip(deciles, reference, strict=True)) / len(reference)


def trained_on(weights: WeightsInfo) -> dict[str, Any]:
    """Return the facts about the training that `flags_of` compares cases with."""
    return {"modality": weights.modality, "spacing_mm": weights.spacing_mm, "deciles": weights.deciles}
