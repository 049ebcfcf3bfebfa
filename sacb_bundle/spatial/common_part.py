"""Find the part of the body that two aligned images share."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes

from ..errors import InputError
from .alignment import widened
from .resampling import resample
from .transform import Transform
from .volume import Volume

# Least Dice at which foregrounds count as the same part: for a head and its brain, it is 0.6; for abdomens, more.
SAME_DICE = 0.7
# Margin of the mask around the common part.
MARGIN_MM = 6.0


def common_part(fixed: Volume, moving: Volume, initial: np.ndarray) -> Volume | None:
    """Find the part that both images show.

    A head and a brain without skull have nothing in common outside the brain, so no displacement field can match them
    there.

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
    labels = Volume((moving.values > 0).astype(np.int32), moving.grid)
    there = resample(Transform(initial), fixed.grid, labels=[labels]).labels[0].values > 0
    both = here & there
    if 2 * both.sum() >= SAME_DICE * (here.sum() + there.sum()):
        return None
    if not both.any():
        raise InputError("After the initial alignment, the foregrounds of the images do not overlap.")
    near = widened(Volume(both, fixed.grid), MARGIN_MM)
    return Volume(binary_fill_holes(near.values).astype(np.int32), fixed.grid)
