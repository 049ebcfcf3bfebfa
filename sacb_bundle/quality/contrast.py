"""Tell whether two images have one contrast."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import isotonic_regression

from ..ops import box_sum
from .measures import FOREGROUND

# Limits, from real pairs (docs/background.md).
LARGEST_REVERSAL = 0.014
LEAST_POSITIVE_SHARE = 0.75
# Local correlation, in a window around a voxel, that counts as strong.
STRONG_CORRELATION = 0.6
WINDOW = 9
LEAST_WINDOW_SHARE = 1 / 3
# Distance between the windows, along each axis.
STEP_VOXELS = 2
# Number of voxels in the joint histogram, about.
NUM_VOXELS = 100_000
NUM_BINS = 32
LEAST_VARIANCE = 1e-6
# Variance of a window below which it is flat.
FLAT_VARIANCE = 1e-4


def have_one_contrast(moving: torch.Tensor, fixed: torch.Tensor, masks: torch.Tensor | None = None) -> bool:
    """Tell whether brighter tissue of one image is brighter in the other, too.

    Args:
        moving: aligned moving image (1, D, H, W) in [0, 1].
        fixed: fixed image, likewise.
        masks: masks (1, 2, D, H, W) of both, 0 where an image does not count; by default, nothing is masked.

    Returns:
        False if more than a share of the variance of one image is explained by intensities of the other that fall where
        they should rise, see `reversal`, or if many strong local correlations are negative, see `positive_share`. A T1
        and a T2 of one head agree in air, bone and fat, and differ within the brain, which only the second rule sees.
    """
    shown = (moving > FOREGROUND) & (fixed > FOREGROUND)
    if masks is not None:
        shown = shown & (masks[0] > 0).all(dim=0, keepdim=True)
    if reversal(moving, fixed, shown) > LARGEST_REVERSAL:
        return False
    return positive_share(moving, fixed, shown) >= LEAST_POSITIVE_SHARE


def reversal(moving: torch.Tensor, fixed: torch.Tensor, shown: torch.Tensor) -> float:
    """Measure how far the joint histogram of two images is from a rising curve.

    Args:
        moving: aligned moving image (1, D, H, W) in [0, 1].
        fixed: fixed image, likewise.
        shown: voxels to compare, bool (1, D, H, W).

    Returns:
        Share of the variance of one image that is explained by its mean at each intensity of the other, less the share
        that the closest curve of such means explains that never falls; the larger one of both directions. 0 if there is
        nothing to compare.
    """
    if not shown.any():
        return 0.0
    step = max(1, int(shown.sum()) // NUM_VOXELS)
    first, second = (image[shown][::step].double().cpu().numpy() for image in (moving, fixed))
    return max(_reversal_of(first, second), _reversal_of(second, first))


def _reversal_of(given: np.ndarray, explained: np.ndarray) -> float:
    """Return the share of the variance of values, explained by others, that no rising curve explains."""
    edges = np.quantile(given, np.linspace(0, 1, NUM_BINS + 1)[1:-1])
    bins = np.searchsorted(edges, given, side="right")
    counts = np.bincount(bins, minlength=NUM_BINS)
    means = np.bincount(bins, explained, minlength=NUM_BINS)[counts > 0] / counts[counts > 0]
    weights = counts[counts > 0] / len(given)
    rising = isotonic_regression(means, weights=weights).x
    # The residual of the closest rising curve is what it leaves unexplained.
    return float((weights * np.square(means - rising)).sum() / max(explained.var(), LEAST_VARIANCE))


def positive_share(moving: torch.Tensor, fixed: torch.Tensor, shown: torch.Tensor) -> float:
    """Measure how many of the strong local correlations of two images are positive.

    Args:
        moving: aligned moving image (1, D, H, W) in [0, 1].
        fixed: fixed image, likewise.
        shown: voxels to compare, bool (1, D, H, W).

    Returns:
        Share, from 0 to 1; 1 if there is no strong correlation.
    """
    weight = shown[None].double()  # sums of squares lose the variance of flat regions in fp32
    first, second = weight * moving[None], weight * fixed[None]
    moments = torch.cat([weight, first, second, first * first, second * second, first * second], dim=1)
    step = STEP_VOXELS
    number, sum_1, sum_2, sum_11, sum_22, sum_12 = box_sum(moments, WINDOW, step).split(1, dim=1)
    kept = shown[None, :, ::step, ::step, ::step] & (number > LEAST_WINDOW_SHARE * WINDOW**3)
    number = number.clamp(min=1)
    variances = [squares - total * total / number for squares, total in ((sum_11, sum_1), (sum_22, sum_2))]
    for variance in variances:
        kept &= variance > FLAT_VARIANCE * number
    correlation = ((sum_12 - sum_1 * sum_2 / number) / (variances[0] * variances[1]).sqrt())[kept]
    strong = correlation[correlation.abs() > STRONG_CORRELATION]
    return float((strong > 0).double().mean()) if len(strong) else 1.0
