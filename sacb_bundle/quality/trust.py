"""Judge whether a registration can be trusted, by measures to which the displacement field was not fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..ops import self_similarity
from ..spatial import Grid, MutualInformation, StartSearch, Volume, motion
from .measures import FOREGROUND
from .mirror import mirror_evidence

NUM_POINTS = 60_000
NUM_PLACES = 2000
# Trust is a logistic function of the logarithm of the mutual information in nats, the round-trip error as a fraction of
# the body size, and the logarithm of the scale. Its weights were fitted to real pairs, right and wrong ones
# (docs/robustness.md).
OFFSET, PER_LOG_INFORMATION, PER_WAY_BACK, PER_LOG_SCALE = 7.2, 2.0, -16.0, -3.6
LEAST_INFORMATION, LARGEST_WAY_BACK = 0.005, 0.4
VERDICTS = ("good", "doubtful", "failed")
GOOD_FROM, FAILED_BELOW = 0.5, 0.2
# An alignment that scales by more than this is a doubt, since the images may lack their sizes.
LARGEST_SCALE = 1.8
# Evidence above which left and right look swapped (docs/robustness.md).
MIRRORED_FROM = 0.24
# A displacement field must lower the distance of the self-similarities at least to this share. For right pairs, smooth
# fields lower it to 0.83 or less; those that ruin heads of two contrasts leave it at 0.91 or more.
LARGEST_DISTANCE_SHARE = 0.85
# It must also raise the mutual information by this factor. For right pairs, the mutual information doubles; a field
# that pulls apart the tissues of a brain with inverted contrast leaves it unchanged.
LEAST_INFORMATION_SHARE = 1.1
# Images that correlate at least this much, such as two phases of one scan, differ in small parts only. Elsewhere they
# share even their noise, which any interpolation changes, so the measures above say nothing about the field.
# A field may lower the correlation by this much; equal images need none.
SAME_SCAN_CORRELATIONS, LARGEST_CORRELATION_LOSS = (0.9, 0.995), 0.02
# Loss of Dice through the displacement field above which a result is doubtful.
LARGEST_LOSS = 0.05
# Distance of the voxels whose self-similarities are compared, along each axis.
STEP_VOXELS = 2


def evidence_of(fixed: Volume, moving: Volume, initial: np.ndarray, sources: Mapping[str, Volume]) -> dict[str, float]:
    """Measure whether aligned images show the same thing.

    Args:
        fixed: fixed image in [0, 1] on the working grid.
        moving: aligned moving image in [0, 1] on the working grid.
        initial: 4x4 matrix of the alignment, from fixed to moving world coordinates in mm, RAS.
        sources: the images "fixed" and "moving" before the alignment, on grids of their own.

    Returns:
        - mutual_information: mutual information of the aligned images, in nats, over the foreground of the fixed one;
        - way_back_percent: round-trip error, in percent of the body size: mean distance over the body between a point
          and where it returns after the alignment and an independent alignment from the moving to the fixed image;
        - mirror_evidence: see `mirror_evidence`;
        - trust: from 0 to 1, how much the agreement resembles that of right pairs rather than that of wrong pairs.
    """
    shown = fixed.values > FOREGROUND
    if not shown.any():
        return {"mutual_information": 0.0, "way_back_percent": 100.0, "mirror_evidence": 0.0, "trust": 0.0}
    information = _mutual_information(fixed, moving)
    way_back = _way_back(fixed.grid.to_world(np.argwhere(shown)), initial, sources)
    scale = motion(initial, fixed.grid)["scale"]
    logit = (
        OFFSET
        + PER_LOG_INFORMATION * np.log(max(information, LEAST_INFORMATION))
        + PER_WAY_BACK * min(way_back, LARGEST_WAY_BACK)
        + PER_LOG_SCALE * min(abs(np.log(scale)), np.log(LARGEST_SCALE))
    )
    return {
        "mutual_information": information,
        "way_back_percent": 100 * way_back,
        "mirror_evidence": mirror_evidence(fixed, moving),
        "trust": float(1 / (1 + np.exp(-logit))),
    }


def _way_back(places: np.ndarray, initial: np.ndarray, sources: Mapping[str, Volume]) -> float:
    """Return the mean round-trip error of points (N, 3), as a fraction of the body size."""
    search = StartSearch(sources["moving"], sources["fixed"], scales=True)
    places = places[:: max(1, len(places) // NUM_PLACES)]
    matrix = search.best().matrix @ initial
    distances = np.linalg.norm(places @ matrix[:3, :3].T + matrix[:3, 3] - places, axis=1)
    return float(distances.mean() / search.bodies[1].size)


def field_helps(fixed: torch.Tensor, moving: torch.Tensor, warped: torch.Tensor) -> bool:
    """Tell whether a displacement field brought images closer, by measures to which it was not fitted.

    The local correlation, which the network maximises, can rise even as the field ruins a pair of two contrasts. The
    self-similarities and the mutual information depend little on the contrast, and the network was not trained on them.

    Args:
        fixed: fixed image (1, D, H, W) in [0, 1].
        moving: aligned moving image, likewise.
        warped: moving image after the displacement field, likewise.

    Returns:
        True if, over the foreground of the fixed image, the mean squared distance of the self-similarities fell and the
        mutual information rose, or if the images are almost equal both before and after.
    """
    foreground = fixed[0] > FOREGROUND
    if not foreground.any():
        return False
    images = [image[0][foreground] for image in (fixed, moving, warped)]
    before, after = (_correlation(images[0], image) for image in images[1:])
    least, largest = SAME_SCAN_CORRELATIONS
    if least <= before <= largest and after >= max(least, before - LARGEST_CORRELATION_LOSS):
        return True
    step = STEP_VOXELS
    shown = foreground[::step, ::step, ::step]
    with torch.no_grad():
        target = self_similarity(fixed[None], step)
        before, after = (
            float((self_similarity(image[None], step) - target).square().mean(dim=1)[0][shown].mean())
            for image in (moving, warped)
        )
    if after > LARGEST_DISTANCE_SHARE * before:
        return False
    grid = Grid(fixed.shape[1:], np.eye(4))
    reference, *others = (Volume(image[0].cpu().numpy(), grid) for image in (fixed, moving, warped))
    before, after = (_mutual_information(reference, image) for image in others)
    return after >= LEAST_INFORMATION_SHARE * before


def _correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    """Return the correlation coefficient of two lists of intensities; 0 if one is constant."""
    first, second = (values.double() - values.double().mean() for values in (first, second))
    return float((first * second).sum() / (first.norm() * second.norm()).clamp(min=1e-12))


def _mutual_information(fixed: Volume, moving: Volume) -> float:
    """Return the mutual information of images on one grid, in nats, over the foreground of the fixed one."""
    return float(MutualInformation(fixed, moving, fixed.values > FOREGROUND, NUM_POINTS)([np.eye(4)])[0])


def verdict_of(measures: Mapping[str, Any]) -> str:
    """Judge a registration.

    Args:
        measures: measures of the registration, see `sacb_bundle.registration.result.Registration.measures`.

    Returns:
        "good"; "doubtful", if there are doubts, see `doubts_of`; or "failed", if the images do not agree.
    """
    if measures["trust"] < FAILED_BELOW:
        return "failed"
    return "doubtful" if doubts_of(measures) else "good"


def scales_too_much(scale: float) -> bool:
    """Tell whether an alignment scales so much that the images may lack their sizes.

    Args:
        scale: scale of the alignment.

    Returns:
        True if it is above 1.8, or below its inverse.
    """
    return bool(abs(np.log(scale)) > np.log(LARGEST_SCALE))


def doubts_of(measures: Mapping[str, Any]) -> list[str]:
    """List the doubts about a registration.

    Args:
        measures: measures of the registration.

    Returns:
        The doubts, as text; empty for a good registration.
    """
    doubts = []
    if measures["trust"] < GOOD_FROM:
        doubts.append(f"the images agree hardly better than unrelated ones (trust {measures['trust']:.2f})")
    if scales_too_much(measures["alignment_scale"]):
        doubts.append(f"the alignment scales by {measures['alignment_scale']:.2f}")
    if measures["mirror_evidence"] > MIRRORED_FROM:
        doubts.append("left and right look swapped in one of the headers")
    if "labels" in measures and not measures["labels"]:
        doubts.append("the label maps have no value in common")
    if measures.get("dice_after") is not None and measures["dice_after"] < measures["dice_before"] - LARGEST_LOSS:
        doubts.append(f"Dice falls: {measures['dice_before']:.3f} to {measures['dice_after']:.3f}")
    return doubts
