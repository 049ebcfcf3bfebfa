"""Judge alignments of different orientations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from ..ops import local_ncc
from .body import foreground
from .mutual_information import MutualInformation, to_unit
from .resampling import averaged, resample
from .transform import Transform
from .volume import Volume

# Voxels along the side of a body, to which the images are averaged, and largest number of points of each image.
NUM_VOXELS, NUM_POINTS = 64, 60_000
# Margin around a body that shows its outline, and window of the local correlation.
MARGIN_VOXELS, LOCAL_WINDOW = 2, 5


class Judge:
    """Tell how well alignments match two bodies, from outside and inside.

    A trunk upside down has nearly the same outline, so what lies inside both bodies counts for itself, too.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        sizes: sizes of the two bodies in mm.
    """

    def __init__(self, fixed: Volume, moving: Volume, sizes: Sequence[float]) -> None:
        fixed, moving = (averaged(image, size / NUM_VOXELS) for image, size in zip((fixed, moving), sizes, strict=True))
        bodies = [foreground(image).values for image in (fixed, moving)]
        near = [binary_dilation(body, iterations=MARGIN_VOXELS) for body in bodies]
        self.around = (
            MutualInformation(fixed, moving, near[0], NUM_POINTS),
            MutualInformation(moving, fixed, near[1], NUM_POINTS),
        )
        self.inside = (
            MutualInformation(fixed, moving, bodies[0], NUM_POINTS, bodies[1]),
            MutualInformation(moving, fixed, bodies[1], NUM_POINTS, bodies[0]),
        )
        self.near = near[0]
        self.images = [Volume(to_unit(image.values).astype(np.float32), image.grid) for image in (fixed, moving)]

    def __call__(self, matrix: np.ndarray) -> float:
        """Score an alignment of images of one contrast or of two.

        Args:
            matrix: 4x4 matrix from fixed to moving world coordinates, in mm, RAS.

        Returns:
            The product of the mutual information near the bodies, the square of that where both bodies are, and the
            mean squared local correlation near the body in the fixed image. What one image does not show counts as 0.
        """
        ways = [matrix], [np.linalg.inv(matrix)]
        around, inside = (
            sum(float(score(way)[0]) for score, way in zip(scores, ways, strict=True))
            for scores in (self.around, self.inside)
        )
        return around * inside**2 * self._local_correlation(matrix)

    def _local_correlation(self, matrix: np.ndarray) -> float:
        """Return the mean squared local correlation of the images after an alignment."""
        fixed, moving = self.images
        inside = Volume(np.ones(moving.grid.shape, np.int32), moving.grid)
        placed = resample(Transform(matrix), fixed.grid, [moving], [inside])
        pair = [torch.from_numpy(np.ascontiguousarray(image.values))[None, None] for image in (placed.images[0], fixed)]
        window = min(LOCAL_WINDOW, (min(fixed.grid.shape) - 1) // 2 * 2 + 1)  # odd, and inside the image
        with torch.no_grad():
            correlation = local_ncc(pair[0], pair[1], window)[0, 0].numpy()
        return float(np.where(placed.labels[0].values > 0, correlation, 0)[self.near].mean())
