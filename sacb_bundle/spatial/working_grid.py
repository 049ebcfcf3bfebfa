"""The grid that the network works on."""

from __future__ import annotations

import numpy as np

from .alignment import foreground
from .grid import Grid
from .resampling import averaged
from .volume import Volume

MARGIN = 15.0
# The part of the image that is not background is cut out if this leaves at most this share of the voxels. Closer cuts
# would change the statistics that the network normalises by.
CROP_BELOW = 0.5


def working_grid(fixed: Volume, spacing: float, divisor: int, mask: Volume | None = None) -> Grid:
    """Grid over the fixed image along the world's axes (RAS), isotropic, with sizes that the network takes.

    It does not depend on the orientation that the image is stored in. Where the image has that spacing and lies along
    the world's axes, voxels coincide with those of the image.

    Args:
        fixed: fixed image.
        spacing: in mm.
        divisor: of all sizes.
        mask: what to cut out if that saves much; by default all but the background.
    """
    low, high = fixed.grid.corners.min(axis=0), fixed.grid.corners.max(axis=0)
    anchor = low
    kept = averaged(mask or foreground(fixed), spacing)
    places = kept.grid.to_world(np.argwhere(kept.values > 0))
    if len(places):
        inner_low = np.maximum(places.min(axis=0) - MARGIN, low)
        inner_high = np.minimum(places.max(axis=0) + MARGIN, high)
        if np.prod(inner_high - inner_low) <= CROP_BELOW * np.prod(high - low):
            low, high = inner_low, inner_high
    # A thousandth of a voxel is rounding, not size.
    first = np.floor((low - anchor) / spacing + 1e-3).astype(int)
    last = np.ceil((high - anchor) / spacing - 1e-3).astype(int)
    missing = -(last - first + 1) % divisor
    first = first - missing // 2
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = anchor + first * spacing
    shape = tuple(int(size) for size in last - first + 1 + (missing - missing // 2))
    return Grid(shape, affine)
