"""Mutual information of two images after many affine transforms, at a coarse resolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from .sampling import sample_nearest
from .volume import Volume

NUM_BINS = 24
# Percentile of the foreground at which the last bin begins.
BRIGHTEST_PERCENTILE = 99.0
SEED = 0
# Transforms evaluated at a time, which bounds the memory.
CHUNK = 64
# Shares below this count as this, since the slope of the entropy is infinite at 0.
LEAST_SHARE = 1e-12
# Points whose gradients are summed at a time, so that the rounding is the same on any number of threads.
BLOCK = 1024


class MutualInformation:
    """Mutual information between points of the fixed image and the moving image, for any transform between them.

    It multiplies the mutual information (in nats) of the points inside the moving image by their share of all points,
    so that neither a small overlap nor the bias of small samples wins.

    Args:
        fixed: fixed image, whose minimum is its background.
        moving: moving image, likewise.
        shown: bool (D, H, W), the voxels of the fixed image to compare.
        num_points: largest number of these voxels to use, drawn at random with a fixed seed.
        moving_mask: bool, the voxels of the moving image that count as inside it; by default all of them.
    """

    def __init__(
        self,
        fixed: Volume,
        moving: Volume,
        shown: np.ndarray,
        num_points: int,
        moving_mask: np.ndarray | None = None,
    ) -> None:
        places = np.argwhere(shown)
        order = np.random.default_rng(SEED).permutation(len(places))[:num_points]
        places = places[order]
        self.points = torch.from_numpy(fixed.grid.to_world(places))
        fixed_bins = _bin_positions(fixed.values)[tuple(places.T)]
        self.fixed_bins = torch.from_numpy(np.round(fixed_bins).astype(np.int64))
        self.moving = torch.from_numpy(_bin_positions(moving.values).astype(np.float32))[None, None]
        self.to_voxels = torch.from_numpy(np.linalg.inv(moving.grid.affine))
        self.moving_mask = None if moving_mask is None else torch.from_numpy(moving_mask)

    def __call__(self, transforms: Sequence[np.ndarray]) -> np.ndarray:
        """Score transforms.

        Args:
            transforms: K 4x4 matrices from fixed to moving world coordinates, in mm, RAS.

        Returns:
            The score of each, (K,).
        """
        chunks = [transforms[first : first + CHUNK] for first in range(0, len(transforms), CHUNK)]
        with torch.no_grad():
            scores = [self._scores(self._voxels(torch.from_numpy(np.stack(chunk)))) for chunk in chunks]
        return torch.cat(scores).numpy()

    def gradient(self, transform: torch.Tensor) -> torch.Tensor:
        """Differentiate the score with respect to a transform.

        Args:
            transform: 4x4 matrix, fp64, from fixed to moving world coordinates, in mm, RAS.

        Returns:
            The derivatives with respect to each value of the matrix (4, 4).
        """
        voxels = self._voxels(transform[None]).requires_grad_()
        (slopes,) = torch.autograd.grad(self._scores(voxels)[0], voxels)
        points = torch.cat([self.points.T, torch.ones(1, len(self.points), dtype=torch.float64)])
        products = F.pad(slopes[0].double()[:, None] * points, (0, -len(self.points) % BLOCK))
        sums = products.unflatten(-1, (-1, BLOCK)).sum(dim=-1).sum(dim=-1)
        return F.pad(self.to_voxels[:3, :3].T @ sums, (0, 0, 0, 1))

    def _voxels(self, transforms: torch.Tensor) -> torch.Tensor:
        """Return the indices (K, 3, N) in the moving image that transforms (K, 4, 4) map the points to."""
        matrices = (self.to_voxels @ transforms)[:, :3, :, None]
        x, y, z = self.points.T
        # Sums written out have the same rounding on any number of threads.
        return (matrices[:, :, 0] * x + matrices[:, :, 1] * y + matrices[:, :, 2] * z + matrices[:, :, 3]).float()

    def _scores(self, voxels: torch.Tensor) -> torch.Tensor:
        """Score transforms by the indices (K, 3, N) in the moving image that they map the points to."""
        last = torch.tensor(self.moving.shape[2:]).sub(1)[:, None]
        inside = ((voxels >= -0.5) & (voxels <= last + 0.5)).all(dim=1)
        if self.moving_mask is not None:
            inside &= sample_nearest(self.moving_mask, voxels.detach().movedim(1, 0)[:, None])[0]
        places = (2 * voxels / last.clamp(min=1) - 1).movedim(1, -1).flip(-1)
        sampled = F.grid_sample(
            self.moving.expand(len(voxels), -1, -1, -1, -1),
            places[:, None, None],
            padding_mode="border",
            align_corners=True,
        )[:, 0, 0, 0].clamp(0, NUM_BINS - 1)
        below = sampled.detach().floor().clamp(0, NUM_BINS - 2)
        counted = inside.double()
        above_weight = (sampled - below) * counted
        cells = (torch.arange(len(voxels))[:, None] * NUM_BINS + self.fixed_bins) * NUM_BINS + below.long()
        counts = torch.zeros(len(voxels) * NUM_BINS**2 + 1, dtype=torch.float64)
        counts = counts.scatter_add(0, cells.flatten(), (counted - above_weight).flatten())
        counts = counts.scatter_add(0, cells.flatten() + 1, above_weight.flatten())
        counts = counts[:-1].view(-1, NUM_BINS, NUM_BINS)
        number = counts.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        joint = counts / number
        information = _entropy(joint.sum(1)) + _entropy(joint.sum(2)) - _entropy(joint.flatten(1))
        return information * number.flatten() / len(self.points)


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
    return torch.special.entr(shares.clamp(min=LEAST_SHARE)).sum(dim=-1)
