"""What two aligned images both show."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes

from ..errors import InputError
from .alignment import widened
from .resampling import resample
from .transform import Transform
from .volume import Volume

# Dice of the foregrounds from which the images count as showing the same; a head and its brain have 0.6.
SAME = 0.85
# Around it, in mm.
MARGIN = 6.0


def common_part(fixed: Volume, moving: Volume, initial: np.ndarray) -> Volume | None:
    """Mask of what both images show, with a margin; None if they show the same all in all.

    A head on one side and a brain without skull on the other have nothing in common outside the brain, and no
    displacement brings one onto the other there.

    Args:
        fixed: mask of what is not background in the fixed image.
        moving: the same of the moving image.
        initial: 4x4, from fixed to moving world coordinates in mm, RAS.

    Raises:
        InputError: if they have nothing in common.
    """
    here = fixed.values > 0
    labels = Volume((moving.values > 0).astype(np.int32), moving.grid)
    there = resample(Transform(initial), fixed.grid, labels=[labels]).labels[0].values > 0
    both = here & there
    if 2 * both.sum() >= SAME * (here.sum() + there.sum()):
        return None
    if not both.any():
        raise InputError("After the initial alignment, the images show nothing at the same place.")
    near = widened(Volume(both, fixed.grid), MARGIN)
    return Volume(binary_fill_holes(near.values).astype(np.int32), fixed.grid)
