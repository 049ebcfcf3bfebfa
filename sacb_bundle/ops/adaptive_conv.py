"""Spatial-awareness convolution: one kernel whose taps are scaled cluster by cluster."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .fused import autocast_input, runs_fused


def adaptive_conv3d(
    x: torch.Tensor, weight: torch.Tensor, tap_weights: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """3x3x3 convolution, zero padded, whose taps are scaled by the cluster of the output voxel.

    With S(v) = n, output(v) = sum over taps k of tap_weights[n, k] * weight[:, :, k] x(v + k) + bias[n].
    Here all N convolutions run as one with N * C_out outputs, of which each voxel keeps those of its cluster.

    Args:
        x: (B, C_in, D, H, W).
        weight: (C_out, C_in, 27), taps in the order of a flattened 3x3x3 kernel.
        tap_weights: (B, N, 27).
        bias: (B, N, C_out).
        labels: (B, D*H*W) int64, below N.

    Returns:
        (B, C_out, D, H, W).

    Source: the spatial-awareness convolution of Cheng et al., CVPR 2025.
    """
    if runs_fused(x):
        from .triton.adaptive_conv import AdaptiveConv3d

        return AdaptiveConv3d.apply(autocast_input(x), weight, tap_weights, bias, labels)
    batch, in_channels, *shape = x.shape
    num_clusters, out_channels = bias.shape[1:]
    kernels = tap_weights[:, :, None, None, :] * weight
    every_cluster = F.conv3d(
        x.reshape(1, batch * in_channels, *shape),
        kernels.reshape(batch * num_clusters * out_channels, in_channels, 3, 3, 3),
        bias.reshape(-1),
        padding=1,
        groups=batch,
    ).reshape(batch, num_clusters, out_channels, -1)
    index = labels[:, None, None, :].expand(-1, 1, out_channels, -1)
    return every_cluster.gather(1, index).reshape(batch, out_channels, *shape)
