"""Find images whose left and right are swapped."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from ..spatial import COARSE_FIT, AffineFit, Start, Transform, Volume, averaged, body_of, resample
from .measures import FOREGROUND

# Images are averaged until a body has this size in voxels.
SIZE_VOXELS = 64
# Standard deviation of a Gaussian filter, in voxels.
SMOOTHING_VOXELS = 2.0


def mirror_evidence(fixed: Volume, moving: Volume) -> float:
    """Compare left-right differences of a body with those of another one and with those of its mirror image.

    The left-right difference of an image is the image minus its reflection in the plane of symmetry of the fixed image.
    What is symmetric cancels out, so even the small differences of a brain count.

    Args:
        fixed: fixed image.
        moving: aligned moving image.

    Returns:
        Correlation, over the foreground, of the differences of the fixed image with those of the mirrored moving image,
        less that with those of the moving image as it is; from -2 to 2. It is positive if left and right look swapped.
    """
    size = body_of(fixed).size
    fixed, moving = (averaged(image, size / SIZE_VOXELS) for image in (fixed, moving))
    plane = _fitted(fixed, _mirrored(fixed), strains=False)

    def difference(image: np.ndarray) -> np.ndarray:
        return image - _placed(_mirrored(Volume(image, fixed.grid)), plane, fixed)

    smooth = _smoothed(fixed.values)
    shown = fixed.values > FOREGROUND
    shown |= _placed(_mirrored(fixed), plane, fixed) > FOREGROUND
    expected = difference(smooth)[shown]
    own, mirrored = (
        _correlation(expected, difference(_smoothed(_placed(image, _fitted(fixed, image), fixed)))[shown])
        for image in (moving, _mirrored(moving))
    )
    return mirrored - own


def _mirrored(image: Volume) -> Volume:
    """Return an image with left and right swapped."""
    return Volume(np.ascontiguousarray(image.values[::-1]), image.grid)


def _fitted(fixed: Volume, moving: Volume, strains: bool = True) -> np.ndarray:
    """Return the 4x4 matrix that aligns two images of similar orientation."""
    start = Start(np.eye(3), 1.0, body_of(fixed).mass, body_of(moving).mass)
    return AffineFit((fixed, moving), (None, None), start, strains).improve(COARSE_FIT).matrix


def _placed(image: Volume, matrix: np.ndarray, fixed: Volume) -> np.ndarray:
    """Return an image on the grid of the fixed image."""
    return resample(Transform(matrix), fixed.grid, [image]).images[0].values


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Filter an image, since noise hides the differences."""
    return np.asarray(gaussian_filter(values, SMOOTHING_VOXELS))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of differences, whose mean is 0; 0 if there are none."""
    return float(first @ second / max(np.linalg.norm(first) * np.linalg.norm(second), 1e-12))
