"""Reasons to review a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .trust import doubts_of

LARGEST_FOLDING_PERCENT = 2.0
LARGEST_INVERSE_FAILED_PERCENT = 5.0
# Lengths of images in mm, from the brain of a mouse to a tall person.
USUAL_SIZES_MM = 8.0, 2500.0
# Extent of an image across a slab, relative to its longest one.
SLAB_SHARE = 0.2
# Less of an image in view, or a body that reaches farther beyond the field of view of the other image, is a reason to
# review: in ordinary pairs of brains, heads, and head and neck, bodies reach at most 11 % of their size beyond it.
LEAST_IN_VIEW_PERCENT, LARGEST_BEYOND_PERCENT = 75.0, 12.5


def flags_of(measures: Mapping[str, Any]) -> list[str]:
    """List the reasons to review a case.

    Args:
        measures: measures of the case, see `sacb_bundle.registration.result.Registration.measures`.

    Returns:
        The reasons, as text: doubts about the result, see `doubts_of`, and other facts that a user should know; empty
        if there are none.
    """
    flags = doubts_of(measures)
    if measures["alignment_alone"]:
        flags.append("the alignment alone: the displacement field brought the images no closer")
    elif measures["refine_reason"]:
        flags.append(f"refinement not used: {measures['refine_reason']}")
    if measures["uniform_scale"]:
        flags.append("the alignment has a uniform scale: an affine one would have distorted the image")
    if measures["fixed_modality"] != measures["moving_modality"]:
        flags.append(f"{measures['moving_modality'].upper()} onto {measures['fixed_modality'].upper()}")
    for role in ("fixed", "moving"):
        longest, shortest = max(measures[f"{role}_extent"]), min(measures[f"{role}_extent"])
        if not USUAL_SIZES_MM[0] <= longest <= USUAL_SIZES_MM[1]:
            flags.append(f"the {role} image is {longest:.3g} mm long; are its voxel sizes right?")
        if measures[f"{role}_header_lost"]:
            flags.append(f"the header of the {role} image seems lost; are its voxels of 1 mm?")
        share, beyond = measures[f"{role}_in_view_percent"], measures[f"{role}_beyond_percent"]
        if share < LEAST_IN_VIEW_PERCENT or beyond > LARGEST_BEYOND_PERCENT:
            flags.append(f"only {share:.0f} % of the {role} image is in the field of view of the other image")
        if shortest < SLAB_SHARE * longest:
            flags.append(f"the {role} image is a slab of {shortest:.3g} mm; the position across it is uncertain")
    if measures["folding_percent"] > LARGEST_FOLDING_PERCENT:
        flags.append(f"folds at {measures['folding_percent']:.2f} % of the voxels")
    if measures["inverse_failed_percent"] > LARGEST_INVERSE_FAILED_PERCENT:
        flags.append(f"no inverse at {measures['inverse_failed_percent']:.1f} % of the points")
    if measures.get("vanished"):
        flags.append(f"labels vanished: {', '.join(map(str, measures['vanished'][:5]))}")
    return flags
