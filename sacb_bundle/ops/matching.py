"""Similarity matching: where in its 3x3x3 neighbourhood does a voxel find itself again?"""

from __future__ import annotations

import torch

from .neighbourhood import OFFSETS, neighbours


def match_similarity(moving: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
    """Expected offset of each fixed voxel under a softmax over its 27 moving neighbours.

    The logits are the inner products of the fixed features at v with the moving features at v + k, zeros
    outside; products and softmax are taken in fp32.

    Args:
        moving: (B, C, D, H, W).
        fixed: (B, C, D, H, W).

    Returns:
        displacement field (B, 3, D, H, W), in voxels, each component within [-1, 1].
    """
    with torch.autocast(fixed.device.type, enabled=False):
        fixed = fixed.float()
        logits = torch.stack([(fixed * neighbour).sum(dim=1) for neighbour in neighbours(moving.float())], dim=1)
        offsets = torch.tensor(OFFSETS, dtype=logits.dtype, device=logits.device)
        return torch.einsum("bkdhw,kc->bcdhw", logits.softmax(dim=1), offsets)
