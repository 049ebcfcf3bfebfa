"""Mutual information of two images after many affine transforms, at a coarse resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from .volume import Volume

NUM_BINS = 24
# Percentile of the foreground at which the last bin begins.
BRIGHTEST_PERCENTILE = 99.0
SEED = 0
# Transforms evaluated at a time, which bounds the memory.
CHUNK = 64


class MutualInformation:
    """Mutual information between points of the fixed image and the moving image, for any transform between them.

    It multiplies the mutual information (in nats) of the points inside the moving image by their share of all points,
    so that neither a small overlap nor the bias of small samples wins.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        shown: bool (D, H, W), the voxels of the fixed image to compare.
        num_points: largest number of these voxels to use, drawn at random with a fixed seed.
    """

    def __init__(self, fixed: Volume, moving: Volume, shown: np.ndarray, num_points: int) -> None:
        places = np.argwhere(shown)
        order = np.random.default_rng(SEED).permutation(len(places))[:num_points]
        places = places[order]
        self.points = torch.from_numpy(fixed.grid.to_world(places))
        fixed_bins = _bin_positions(fixed.values)[tuple(places.T)]
        self.fixed_bins = torch.from_numpy(np.round(fixed_bins).astype(np.int64))
        self.moving = torch.from_numpy(_bin_positions(moving.values).astype(np.float32))[None, None]
        self.to_voxels = np.linalg.inv(moving.grid.affine)

    def __call__(self, transforms: Sequence[np.ndarray]) -> np.ndarray:
        """Score transforms.

        Args:
            transforms: K 4x4 matrices from fixed to moving world coordinates, in mm, RAS.

        Returns:
            The score of each, (K,).
        """
        chunks = [transforms[first : first + CHUNK] for first in range(0, len(transforms), CHUNK)]
        return np.concatenate([self._scores(np.stack(chunk)) for chunk in chunks])

    def _scores(self, transforms: np.ndarray) -> np.ndarray:
        matrices = torch.from_numpy(self.to_voxels @ transforms)[:, :3, :, None]
        x, y, z = self.points.T
        # Sums written out have the same rounding on any number of threads.
        voxels = (matrices[:, :, 0] * x + matrices[:, :, 1] * y + matrices[:, :, 2] * z + matrices[:, :, 3]).float()
        last = torch.tensor(self.moving.shape[2:]).sub(1)[:, None]
        inside = ((voxels >= -0.5) & (voxels <= last + 0.5)).all(dim=1)
        places = (2 * voxels / last.clamp(min=1) - 1).movedim(1, -1).flip(-1)
        sampled = F.grid_sample(
            self.moving.expand(len(transforms), -1, -1, -1, -1),
            places[:, None, None],
            padding_mode="border",
            align_corners=True,
        )[:, 0, 0, 0].clamp(0, NUM_BINS - 1)
        below = sampled.floor().clamp(0, NUM_BINS - 2)
        counted = inside.double()
        above_weight = (sampled - below) * counted
        cells = (torch.arange(len(transforms))[:, None] * NUM_BINS + self.fixed_bins) * NUM_BINS + below.long()
        size = len(transforms) * NUM_BINS**2
        counts = torch.bincount(cells.flatten(), (counted - above_weight).flatten(), size)
        counts += torch.bincount(cells.flatten() + 1, above_weight.flatten(), size + 1)[:size]
        counts = counts.view(-1, NUM_BINS, NUM_BINS)
        number = counts.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        joint = counts / number
        information = _entropy(joint.sum(1)) + _entropy(joint.sum(2)) - _entropy(joint.flatten(1))
        return (information * number.flatten() / len(self.points)).numpy()


def to_unit(values: np.ndarray) -> np.ndarray:
    """Scale an image from its minimum to the 99th percentile of its foreground.

    Args:
        values: intensities of any shape.

    Returns:
        The intensities, fp64, clipped to [0, 1]; 0 for a constant image.
    """
    lowest = float(values.min())
    foreground = values[values > lowest]
    highest = float(np.percentile(foreground, BRIGHTEST_PERCENTILE)) if foreground.size else lowest
    span = highest - lowest if highest > lowest else 1.0
    return np.clip((values.astype(np.float64) - lowest) / span, 0, 1)


def _bin_positions(values: np.ndarray) -> np.ndarray:
    """Return intensities as positions between the centres of the first and the last bin."""
    return to_unit(values) * (NUM_BINS - 1)


def _entropy(shares: torch.Tensor) -> torch.Tensor:
    """Return the entropy of each row of shares, in nats."""
    return torch.special.entr(shares).sum(dim=-1)
