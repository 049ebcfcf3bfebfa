"""Find the part of the body that two aligned images share."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes

from ..errors import InputError
from .alignment import widened
from .resampling import resample
from .transform import Transform
from .volume import Volume

# Least Dice, within both fields of view, at which foregrounds count as the same part; for a head and its brain, it is
# 0.6.
SAME_DICE = 0.7
# Least share of the fixed foreground in the field of view of the moving image, for the same part.
SEEN_SHARE = 0.9
# Margin of the mask around the common part.
MARGIN_MM = 6.0


def common_part(fixed: Volume, moving: Volume, initial: np.ndarray) -> Volume | None:
    """Find the part that both images show.

    A head and a brain without skull have nothing in common outside the brain, so no displacement field can match them
    there. Images of the same part, as far as their fields of view overlap, have their bodies in common there.

    Args:
        fixed: mask of the foreground of the fixed image.
        moving: mask of the foreground of the moving image.
        initial: 4x4 matrix from fixed to moving world coordinates, in mm, RAS.

    Returns:
        A mask of that part with a margin, on the fixed image's grid; None if the images show the same part.

    Raises:
        InputError: if the foregrounds do not overlap.
    """
    here = fixed.values > 0
    masks = [
        Volume(values.astype(np.int32), moving.grid) for values in (moving.values > 0, np.ones(moving.values.shape))
    ]
    there, seen = (mask.values > 0 for mask in resample(Transform(initial), fixed.grid, labels=masks).labels)
    both, all_here = here & there, here.sum()
    here &= seen
    if 2 * both.sum() >= SAME_DICE * (here.sum() + there.sum()):
        if here.sum() >= SEEN_SHARE * all_here:
            return None
        both = here | there
    if not both.any():
        raise InputError("After the initial alignment, the foregrounds of the images do not overlap.")
    near = widened(Volume(both, fixed.grid), MARGIN_MM)
    return Volume(binary_fill_holes(near.values).astype(np.int32), fixed.grid)
