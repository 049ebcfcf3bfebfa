"""Methods without weights, with the contract of a network."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import torch
from torch import nn

from ..quality import have_one_contrast

# Metric of SyN for images of one contrast, with its radius in voxels, and for others, with its number of bins.
CROSS_CORRELATION, MUTUAL_INFORMATION = ("CC", 2), ("mattes", 32)
# Iterations of SyN at an eighth, a quarter, half and all of the resolution.
ITERATIONS = (100, 70, 50, 20)


class ZeroField(nn.Module):
    """Leave a pair as it is, so that its alignment is the result."""

    size_divisor = 16

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, Any] = {}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return no displacement.

        Args:
            image: pairs (B, 2, D, H, W).

        Returns:
            Zeros (B, 3, D, H, W).
        """
        return image.new_zeros(len(image), 3, *image.shape[2:])


class SyN(nn.Module):
    """Register pairs with SyN of ANTs, as antspyx runs it, on the CPU.

    It starts from the alignment of the pair, and maximises the cross-correlation of images of one contrast, or the
    mutual information of others.
    """

    size_divisor = 16

    def __init__(self) -> None:
        super().__init__()
        self.options: dict[str, Any] = {}

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Register a batch of pairs.

        Args:
            image: pairs (B, 2, D, H, W) in [0, 1], channel 0 moving and channel 1 fixed, on a grid with the same
                spacing along all axes.

        Returns:
            Displacement field (B, 3, D, H, W) in voxels, as of a network.
        """
        return torch.stack([_syn_field(pair.cpu()) for pair in image]).to(image)


def _syn_field(pair: torch.Tensor) -> torch.Tensor:
    """Return the displacement field (3, D, H, W) of a pair (2, D, H, W)."""
    import ants

    moving, fixed = (ants.from_numpy(channel.numpy().astype(np.float32)) for channel in pair)
    metric, sampling = CROSS_CORRELATION if have_one_contrast(*pair.split(1)) else MUTUAL_INFORMATION
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed,
            moving,
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            outprefix=f"{folder}/",
            syn_metric=metric,
            syn_sampling=sampling,
            reg_iterations=ITERATIONS,
        )
        field = ants.image_read(found["fwdtransforms"][0]).numpy()  # (D, H, W, 3), in voxels of spacing 1
    return torch.from_numpy(field).movedim(-1, 0)
