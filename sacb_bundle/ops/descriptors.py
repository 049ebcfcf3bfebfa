"""Descriptors for clustering: means over the zero-padded 3x3x3 patch of each voxel."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fused import runs_fused
from .neighbourhood import neighbours
from .tracing import suits_cpu


def spatial_descriptor(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of each voxel's patch per channel.

    Args:
        x: features (B, C, D, H, W).

    Returns:
        Descriptors (B, D*H*W, C) in fp32.

    Source: the "spatial" variant of Cheng et al., CVPR 2025.

    Example:
        >>> import torch
        >>> spatial_descriptor(torch.full((1, 2, 3, 3, 3), 27.0))[0, 13].tolist()
        [27.0, 27.0]
    """
    if runs_fused(x) and not (x.requires_grad and torch.is_grad_enabled()):
        from .triton import descriptors

        with torch.cuda.device_of(x):
            return descriptors.spatial_descriptor(x)
    if not suits_cpu(x):
        return F.avg_pool3d(F.pad(x.float(), (1,) * 6), kernel_size=3, stride=1).flatten(2).transpose(1, 2)
    # On the CPU, sum along one axis after the other: 6 additions instead of 26, in the layout of the result.
    sums = x.float().movedim(1, -1)
    for axis in (1, 2, 3):
        here, pairs = sums, sums.shape[axis] - 1
        sums = here.clone(memory_format=torch.contiguous_format)
        sums.narrow(axis, 1, pairs).add_(here.narrow(axis, 0, pairs))
        sums.narrow(axis, 0, pairs).add_(here.narrow(axis, 1, pairs))
    return sums.flatten(1, 3) / 27


def channel_descriptor(x: torch.Tensor) -> torch.Tensor:
    """Return the mean over the channels for each of the 27 taps of a voxel's patch.

    Args:
        x: features (B, C, D, H, W).

    Returns:
        Descriptors (B, D*H*W, 27) in fp32.

    Source: the "channel" variant of Cheng et al., CVPR 2025.
    """
    channel_mean = x.float().mean(dim=1, keepdim=True)
    return torch.cat(list(neighbours(channel_mean)), dim=1).flatten(2).transpose(1, 2)
