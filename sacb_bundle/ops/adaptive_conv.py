"""Spatial-awareness convolution: one kernel whose taps are scaled cluster by cluster."""

from __future__ import annotations

from itertools import product

import torch
import torch.nn.functional as F

from .fused import convolution_dtype, runs_fused
from .neighbourhood import CACHED_VALUES, OFFSETS

NUM_TAPS = len(OFFSETS)


def adaptive_conv3d(
    x: torch.Tensor, weight: torch.Tensor, tap_weights: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """3x3x3 convolution, zero padded, whose taps are scaled by the cluster of the output voxel.

    With S(v) = n, output(v) = sum over taps k of tap_weights[n, k] * weight[:, :, k] x(v + k) + bias[n].
    Here all N convolutions run as one with N * C_out outputs, of which each voxel keeps those of its cluster; on the
    CPU without gradients, a matrix product with the scaled neighbourhoods saves the N - 1 that are not kept.

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
    if weight.shape[1] != x.shape[1] or labels.shape != (len(x), x.shape[2:].numel()):
        raise ValueError(
            f"The input is {tuple(x.shape)}, the weight {tuple(weight.shape)} and the labels {tuple(labels.shape)}; "
            "the weight must be (C_out, C_in, 27) and the labels (B, D*H*W)."
        )
    if runs_fused(x, channels=weight.shape[0]):
        from .triton.adaptive_conv import AdaptiveConv3d

        with torch.cuda.device_of(x):
            return AdaptiveConv3d.apply(x.to(convolution_dtype(x)), weight, tap_weights, bias, labels)
    if x.device.type == "cpu" and not torch.is_grad_enabled():
        return by_matrix_products(x, weight, tap_weights, bias, labels)
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


def by_matrix_products(
    x: torch.Tensor, weight: torch.Tensor, tap_weights: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """`adaptive_conv3d` without gradients, some rows of voxels at a time.

    The neighbourhoods of these rows, scaled tap by tap, and their product with the shared kernel stay in the cache.
    """
    batch, in_channels, depth, height, width = x.shape
    out_channels = weight.shape[0]
    kernel = weight.permute(2, 1, 0).reshape(NUM_TAPS * in_channels, out_channels)
    padded = F.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1, 1, 1))
    # (B, D, H, W, 3, 3, 3, C), a view.
    neighbourhoods = padded.unfold(1, 3, 1).unfold(2, 3, 1).unfold(3, 3, 1).movedim(4, -1)
    clusters = labels.reshape(batch, depth, height * width)
    output = weight.new_empty(batch, depth, height * width, out_channels)
    rows = max(1, CACHED_VALUES // (width * NUM_TAPS * in_channels))
    scaled = weight.new_empty(min(rows, height), width, 3, 3, 3, in_channels)
    for item, d, h in product(range(batch), range(depth), range(0, height, rows)):
        here = neighbourhoods[item, d, h : h + rows]
        voxels = slice(h * width, (h + rows) * width)
        cluster = clusters[item, d, voxels]
        taps = tap_weights[item].index_select(0, cluster).reshape(*here.shape[:-1], 1)
        patches = torch.mul(here, taps, out=scaled[: len(here)]).reshape(-1, len(kernel))
        torch.addmm(bias[item].index_select(0, cluster), patches, kernel, out=output[item, d, voxels])
    return output.reshape(batch, depth, height, width, out_channels).movedim(-1, 1).to(convolution_dtype(x))
