"""Mean over the zero-padded 3x3x3 patch of each voxel."""

from __future__ import annotations

import torch
import triton.language as tl

from .tiles import block_size, cdiv, channels_last, compiled, next_power_of_2


@compiled
def _patch_mean_kernel(
    x, out, depth, height, width, CHANNELS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK: tl.constexpr
):
    """Compute the patch means of a block of voxels."""
    num_voxels = depth * height * width
    base = tl.program_id(1).to(tl.int64) * num_voxels * CHANNELS
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, BLOCK_C)
    d, h, w = voxel // (height * width), voxel // width % height, voxel % width
    x += base + voxel[:, None] * CHANNELS + channel[None, :]
    in_channels = (channel < CHANNELS)[None, :]
    total = tl.zeros((BLOCK, BLOCK_C), dtype=tl.float32)
    for shift_d in range(-1, 2):
        for shift_h in range(-1, 2):
            row_inside = (d + shift_d >= 0) & (d + shift_d < depth) & (h + shift_h >= 0) & (h + shift_h < height)
            row = x + (shift_d * height + shift_h) * width * CHANNELS
            left, right = row_inside & (w > 0), row_inside & (w < width - 1)
            total += tl.load(row - CHANNELS, mask=left[:, None] & in_channels, other=0).to(tl.float32)
            total += tl.load(row, mask=row_inside[:, None] & in_channels, other=0).to(tl.float32)
            total += tl.load(row + CHANNELS, mask=right[:, None] & in_channels, other=0).to(tl.float32)
    tl.store(
        out + base + voxel[:, None] * CHANNELS + channel[None, :],
        total / 27,
        mask=(voxel < num_voxels)[:, None] & (channel < CHANNELS)[None, :],
    )


def spatial_descriptor(x: torch.Tensor) -> torch.Tensor:
    """Compute `sacb_bundle.ops.spatial_descriptor` without gradients.

    Args:
        x: features (B, C, D, H, W).

    Returns:
        Descriptors (B, D*H*W, C) fp32.
    """
    x = channels_last(x.detach())
    batch, channels, depth, height, width = x.shape
    num_voxels = depth * height * width
    out = torch.empty((batch, num_voxels, channels), dtype=torch.float32, device=x.device)
    block_c = next_power_of_2(channels)
    block = max(1, block_size(2048) // block_c)
    _patch_mean_kernel[(cdiv(num_voxels, block), batch)](x, out, depth, height, width, channels, block_c, block)
    return out
