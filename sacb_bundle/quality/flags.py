"""Reasons to review a case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .trust import doubts_of

LARGEST_FOLDING_PERCENT = 2.0
LARGEST_INVERSE_FAILED_PERCENT = 5.0


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
    if measures["fixed_modality"] != measures["moving_modality"]:
        flags.append(f"{measures['moving_modality'].upper()} onto {measures['fixed_modality'].upper()}")
    if measures["folding_percent"] > LARGEST_FOLDING_PERCENT:
        flags.append(f"folds at {measures['folding_percent']:.2f} % of the voxels")
    if measures["inverse_failed_percent"] > LARGEST_INVERSE_FAILED_PERCENT:
        flags.append(f"no inverse at {measures['inverse_failed_percent']:.1f} % of the points")
    if measures.get("vanished"):
        flags.append(f"labels vanished: {', '.join(map(str, measures['vanished'][:5]))}")
    return flags
