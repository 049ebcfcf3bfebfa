"""Similarity matching of feature maps within 3x3x3 neighbourhoods."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fused import runs_fused
from .neighbourhood import CACHED_VALUES, shifted
from .tracing import goes_by_slabs


def match_similarity(moving: torch.Tensor, fixed: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Return the expected offset of each fixed voxel under a softmax over its 27 moving neighbours.

    The logits are the inner products of the fixed features at v and the moving features at v + k, which are zero
    outside the image. Products and softmax are computed in fp32.

    Args:
        moving: moving features (B, C, D, H, W).
        fixed: fixed features (B, C, D, H, W).
        bias: bias (B, 27) that is added to the logits of each offset, in the order of `neighbourhood.OFFSETS`.

    Returns:
        Displacement field (B, 3, D, H, W) in voxels, each component within [-1, 1].

    Raises:
        ValueError: if the shapes differ.

    Source: the similarity matching of Cheng et al., CVPR 2025.

    Example:
        >>> import torch
        >>> match_similarity(torch.rand(1, 8, 4, 5, 6), torch.rand(1, 8, 4, 5, 6)).shape
        torch.Size([1, 3, 4, 5, 6])
    """
    if moving.shape != fixed.shape:
        raise ValueError(f"Shapes differ: moving features {tuple(moving.shape)}, fixed {tuple(fixed.shape)}.")
    if bias is None and runs_fused(moving, channels=3):
        from .triton.matching import MatchSimilarity

        with torch.cuda.device_of(moving):
            return MatchSimilarity.apply(moving, fixed)
    padded = F.pad(moving.float().contiguous(), (1,) * 6)
    fixed = fixed.float().contiguous()
    if not goes_by_slabs(moving):
        return _expected_offset(padded, fixed, bias)
    # Slabs small enough for their products to stay in the cache.
    depth, step = moving.shape[2], max(1, CACHED_VALUES // moving[:, :, 0].numel())
    return torch.cat(
        [
            _expected_offset(padded[:, :, d : d + step + 2], fixed[:, :, d : d + step], bias)
            for d in range(0, depth, step)
        ],
        dim=2,
    )


def _expected_offset(padded: torch.Tensor, fixed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Compute `match_similarity` from padded moving features, (B, C, D + 2, H + 2, W + 2)."""
    logits = torch.stack([(fixed * neighbour).sum(dim=1) for neighbour in shifted(padded)], dim=1)
    if bias is not None:
        logits = logits + bias.float()[:, :, None, None, None]
    weights = logits.softmax(dim=1).unflatten(1, (3, 3, 3))
    # Along each axis, the weight of the neighbours at +1 minus the weight of those at -1.
    return torch.stack(
        [weights.select(axis, 2).sum(dim=(1, 2)) - weights.select(axis, 0).sum(dim=(1, 2)) for axis in (1, 2, 3)], dim=1
    )
