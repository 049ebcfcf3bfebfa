"""The foreground of an image: where the body is, and how large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .resampling import thinned
from .volume import Volume

# Share of the range of intensities above which a voxel is foreground.
FOREGROUND_SHARE = 0.05
BRIGHT_PERCENTILE = 99.5
# Voxels along each axis that are used to measure a body.
MOST_VOXELS = 64


@dataclass(frozen=True, eq=False)
class Body:
    """Position and size of the foreground of an image.

    Attributes:
        mass: centre of mass of the intensities, in mm, RAS.
        middle: centre of the box that holds 98 % of the foreground along each world axis, in mm, RAS.
        sides: sides of the box with the same moments of inertia, in mm, from the shortest to the longest; they do not
            depend on the orientation of the body.
    """

    mass: np.ndarray
    middle: np.ndarray
    sides: np.ndarray

    @property
    def size(self) -> float:
        """Length of the middle side in mm, which a thin slab and a long field of view change little."""
        return float(self.sides[1])


def foreground(volume: Volume) -> Volume:
    """Find the voxels that are brighter than the background.

    Args:
        volume: image of any type of real numbers, whose minimum is its background.

    Returns:
        A mask, bool, on the same grid.
    """
    low, high = volume.values.min(), np.percentile(volume.values, BRIGHT_PERCENTILE)
    return Volume(volume.values > low + FOREGROUND_SHARE * (high - low), volume.grid)


def body_of(volume: Volume) -> Body:
    """Measure the foreground of an image.

    Args:
        volume: image of any type of real numbers, whose minimum is its background.

    Returns:
        Position and size of the foreground.

    Raises:
        InputError: if there is no foreground.
    """
    volume = thinned(volume, MOST_VOXELS)
    shown = foreground(volume).values
    indices = np.argwhere(shown)
    if not len(indices):
        raise InputError("An image shows nothing: all of its voxels are background.")
    places = volume.grid.to_world(indices)
    weights = volume.values[shown].astype(np.float64) - float(volume.values.min())
    inertia = np.cov(places.T, bias=True) if len(places) > 1 else np.zeros((3, 3))
    sides = np.sqrt(12 * np.linalg.eigvalsh(inertia).clip(min=0)) + min(volume.grid.spacing)
    return Body((weights @ places) / weights.sum(), np.percentile(places, (1, 99), axis=0).mean(axis=0), sides)
