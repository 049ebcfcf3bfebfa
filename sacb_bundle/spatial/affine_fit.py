"""Fit a rigid or an affine transform by the gradient of the mutual information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from ..errors import InputError
from .alignment_start import Start
from .body import body_of, foreground
from .mutual_information import MutualInformation
from .resampling import averaged
from .volume import Volume


@dataclass(frozen=True)
class Level:
    """A resolution at which a transform is fitted.

    Attributes:
        num_voxels: voxels along the side of a body.
        num_points: largest number of points of each image.
        rate: learning rate, relative to half the size of the body.
        margin_voxels: margin of background around the body, which shows where it ends.
    """

    num_voxels: int
    num_points: int
    rate: float
    margin_voxels: int


COARSE_FIT, FINE_FIT = Level(32, 4000, 0.03, 2), Level(64, 16_000, 0.01, 4)
NUM_STEPS = 60
# The learning rate falls to this share.
LAST_RATE_SHARE = 0.05
BETAS = (0.8, 0.95)
# A mask with fewer voxels counts wherever it touches one, and one with fewer than the second number is refused.
FEWEST_POINTS, LEAST_POINTS = 2000, 100
# Weight of the squared strains, in nats: mutual information alone lets a few bright organs distort the rest.
STRAIN_WEIGHT = 0.1


class AffineFit:
    """Maximise the mutual information of two images over transforms near a start.

    The score is the mean over the points of both bodies, see `MutualInformation`, so swapping the images inverts the
    transform. Adam follows its gradient. The result is the same, bit by bit, on any number of threads.

    Args:
        images: fixed and moving image, whose minimum is their background.
        masks: masks of the parts of the fixed and the moving image that count; None for the body with a margin.
        start: start.
        strains: whether the transform may stretch and shear; otherwise it keeps the scale of the start.
    """

    def __init__(self, images: Sequence[Volume], masks: Sequence[Volume | None], start: Start, strains: bool) -> None:
        self.images = images
        self.masks = masks
        self.sizes = [body_of(image).size for image in images]
        self.start = start
        self.strains = strains
        # A rotation vector, six strains, and a shift relative to half the size of the fixed body.
        with torch.inference_mode(False):
            self._values = torch.zeros(12, dtype=torch.float64, requires_grad=True)

    @property
    def matrix(self) -> np.ndarray:
        """The 4x4 matrix from fixed to moving world coordinates, in mm, RAS."""
        return self._matrix().detach().numpy()

    @torch.inference_mode(False)
    @torch.enable_grad()
    def improve(self, level: Level) -> AffineFit:
        """Follow the gradient.

        Args:
            level: resolution.

        Returns:
            The fit itself.
        """
        forward, backward = self._scores(level)
        optimiser = torch.optim.Adam([self._values], betas=BETAS)
        for step in range(NUM_STEPS):
            optimiser.param_groups[0]["lr"] = level.rate * max(1 - step / NUM_STEPS, LAST_RATE_SHARE)
            optimiser.zero_grad()
            matrix = self._matrix()
            inverse = torch.linalg.inv(matrix)
            slopes = [forward.gradient(matrix.detach()), backward.gradient(inverse.detach())]
            torch.autograd.backward([matrix, inverse], [-slope / 2 for slope in slopes])
            (STRAIN_WEIGHT * self._strain().square().sum()).backward()
            if not self.strains and self._values.grad is not None:
                self._values.grad[3:9] = 0
            optimiser.step()
        return self

    def _scores(self, level: Level) -> tuple[MutualInformation, MutualInformation]:
        """Return the scores of transforms, at points of the fixed image, and of their inverses, at points of the other.

        Args:
            level: resolution.

        Returns:
            Both scores.
        """
        images, shown, inside = [], [], []
        for image, mask, size in zip(self.images, self.masks, self.sizes, strict=True):
            spacing = size / level.num_voxels
            images.append(averaged(image, spacing))
            inside.append(None if mask is None else _kept(averaged(mask, spacing).values))
            widened = binary_dilation(foreground(images[-1]).values, iterations=level.margin_voxels)
            shown.append(widened if inside[-1] is None else inside[-1])
        (fixed, moving), (fixed_inside, moving_inside) = images, inside
        return (
            MutualInformation(fixed, moving, shown[0], level.num_points, moving_inside),
            MutualInformation(moving, fixed, shown[1], level.num_points, fixed_inside),
        )

    def _matrix(self) -> torch.Tensor:
        """Return the 4x4 matrix, with its gradient."""
        x, y, z = self._values[:3]
        none = torch.zeros_like(x)
        turn = torch.stack([none, -z, y, z, none, -x, -y, x, none]).reshape(3, 3).matrix_exp()
        linear = torch.from_numpy(self.start.matrix[:3, :3]) @ turn @ self._strain().matrix_exp()
        target = torch.from_numpy(self.start.target) + self.sizes[0] / 2 * self._values[9:]
        shift = target - linear @ torch.from_numpy(self.start.centre)
        last = torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        return torch.cat([torch.cat([linear, shift[:, None]], dim=1), last])

    def _strain(self) -> torch.Tensor:
        """Return the logarithm of the stretch, a symmetric matrix (3, 3)."""
        return self._values[[3, 6, 7, 6, 4, 8, 7, 8, 5]].reshape(3, 3)


def _kept(shares: np.ndarray) -> np.ndarray:
    """Return the voxels of a mask, given the share of each voxel of a coarser grid that it covers.

    Args:
        shares: shares from 0 to 1.

    Returns:
        The voxels that it covers by half; all that it touches, if these are few, such as for a thin mask.

    Raises:
        InputError: if it touches too few.
    """
    kept = shares > 0.5
    if kept.sum() < FEWEST_POINTS:
        kept = shares > 0
    if kept.sum() < LEAST_POINTS:
        raise InputError(
            f"A mask leaves {int(kept.sum())} voxels of the coarse grid of the alignment; at least {LEAST_POINTS} are "
            "needed. Use a larger mask, or align without masks."
        )
    return kept
