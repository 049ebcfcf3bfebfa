"""What two aligned images both show."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, binary_fill_holes

from .resampling import resample
from .transform import Transform
from .volume import Volume

# Dice of the foregrounds from which the images count as showing the same; a head and its brain have 0.6.
SAME = 0.85
MARGIN_MM = 6.0


def common_part(fixed: Volume, moving: Volume, initial: np.ndarray) -> Volume | None:
    """Mask of what both images show, with a margin; None if they show the same all in all.

    A head on one side and a brain without skull on the other have nothing in common outside the brain, and no
    displacement brings one onto the other there.

    Args:
        fixed: mask of what is not background in the fixed image.
        moving: the same of the moving image.
        initial: 4x4, from fixed to moving world coordinates in mm, RAS.
    """
    here = fixed.values > 0
    labels = Volume((moving.values > 0).astype(np.int32), moving.grid)
    there = resample(Transform(initial), fixed.grid, labels=[labels]).labels[0].values > 0
    both = here & there
    if 2 * both.sum() >= SAME * (here.sum() + there.sum()):
        return None
    steps = max(1, round(MARGIN_MM / min(fixed.grid.spacing)))
    return Volume(binary_fill_holes(binary_dilation(both, iterations=steps)).astype(np.int32), fixed.grid)
