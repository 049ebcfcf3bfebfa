"""Working grid of the network."""

from __future__ import annotations

import math
import os

import numpy as np

from ..errors import InputError
from .grid import Grid
from .volume import Volume

# Margin around the foreground; rounding up the sizes adds to it.
MARGIN_VOXELS = 2
# Sizes of a body, relative to the mean and to the largest of the training. From USUAL of the mean to LARGE of the
# largest, the spacing of the training is kept. At SMALL of the mean and below, the body gets as many voxels as one of
# the mean size; between SMALL and USUAL, the spacing changes steadily.
SMALL_BODY, USUAL_BODY, LARGE_BODY = 0.6, 0.8, 1.25
# Memory of preparation and network, measured on a CPU (docs/performance.md).
BYTES_PER_VOXEL = 250.0


def fitting_spacing(
    trained_mm: float, trained_body_mm: tuple[float, float] | None, body_mm: float, voxels_mm: float
) -> float:
    """Choose the spacing of a working grid by the size of the body.

    The spacing of the training is kept for bodies from 0.8 times the mean size (geometric, of the smallest and the
    largest) to 1.25 times the largest of the training. Outside that range, it follows the size, so that the brain of a
    mouse has the voxels of a usual body. For a small body, the grid is not finer than the images.

    Args:
        trained_mm: spacing of the training.
        trained_body_mm: sizes of the smallest and the largest bodies in the training, see `sacb_bundle.spatial.Body`;
            None if unknown, which keeps the spacing of the training.
        body_mm: size of the body in the fixed image.
        voxels_mm: smallest side of a voxel, of the coarser image.

    Returns:
        The spacing in mm, with two significant digits if it is not that of the training.
    """
    if trained_body_mm is None:
        return trained_mm
    smallest, largest = trained_body_mm
    if body_mm > LARGE_BODY * largest:
        return float(f"{trained_mm * body_mm / largest / LARGE_BODY:.2g}")
    ratio = body_mm / math.sqrt(smallest * largest)
    if ratio >= USUAL_BODY:
        return trained_mm
    share = ratio if ratio < SMALL_BODY else np.interp(ratio, (SMALL_BODY, USUAL_BODY), (SMALL_BODY, 1))
    return min(trained_mm, float(f"{max(trained_mm * share, voxels_mm):.2g}"))


def check_memory(grid: Grid) -> None:
    """Check that a pair on a working grid can be held in memory.

    Args:
        grid: working grid.

    Raises:
        InputError: if the pair needs more memory than the machine has.
    """
    needed = float(np.prod(grid.shape, dtype=np.float64)) * BYTES_PER_VOXEL
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > present:
        raise InputError(
            f"A working grid of {grid} needs about {needed / 1e9:.3g} GB of memory, but the machine has "
            f"{present / 1e9:.3g} GB. Choose a larger spacing (--spacing), or check the units of the images."
        )


def working_grid(shown: Volume, spacing: float, divisor: int) -> Grid:
    """Return an isotropic grid over the foreground, along the world's axes (RAS), in sizes that the network accepts.

    The grid excludes background except for a margin. Background takes time, and the network normalises by the
    statistics of all voxels and was trained on images with little background. (A brain pair with 35 % foreground on
    the grid had a Dice of 0.58 after registration; with 21 %, it had 0.34.)

    The grid does not depend on the orientation of the mask's array. Its voxels coincide with those of an image with the
    same spacing along the world's axes.

    Args:
        shown: mask of the foreground of the fixed image.
        spacing: spacing of the grid, in mm.
        divisor: number by which each size must be divisible.

    Returns:
        The grid.
    """
    low, high = shown.grid.corners.min(axis=0), shown.grid.corners.max(axis=0)
    anchor = low
    places = shown.grid.to_world(np.argwhere(shown.values > 0))
    if len(places):
        low = np.maximum(places.min(axis=0) - MARGIN_VOXELS * spacing, low)
        high = np.minimum(places.max(axis=0) + MARGIN_VOXELS * spacing, high)
    # Ignore a thousandth of a voxel as a rounding error.
    first = np.floor((low - anchor) / spacing + 1e-3).astype(int)
    last = np.ceil((high - anchor) / spacing - 1e-3).astype(int)
    missing = -(last - first + 1) % divisor
    first = first - missing // 2
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = anchor + first * spacing
    shape = tuple(int(size) for size in last - first + 1 + (missing - missing // 2))
    return Grid(shape, affine)
