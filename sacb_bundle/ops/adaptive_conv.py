"""Spatial-awareness convolution: one kernel whose taps are scaled per cluster, plus a residual."""

from __future__ import annotations

import math
from itertools import product

import torch
import torch.nn.functional as F

from .fused import convolution_dtype, runs_fused
from .instance_norm import NEGATIVE_SLOPE
from .neighbourhood import CACHED_VALUES, NUM_TAPS
from .tracing import goes_by_slabs


def adaptive_residual_conv3d(
    x: torch.Tensor,
    weight: torch.Tensor,
    tap_weights: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    residual: torch.Tensor,
) -> torch.Tensor:
    """Apply a 3x3x3 convolution whose taps are scaled per cluster, then a leaky ReLU, and add the residual.

    For a voxel v of cluster n, convolved(v) = sum over taps k of tap_weights[n, k] * weight[:, :, k] x(v + k) + bias[n]
    and output(v) = leaky_relu(convolved(v)) + residual(v). x is zero padded; the leaky ReLU has slope 0.1.
    By default, all N convolutions run as one with N * C_out outputs, and each voxel keeps those of its cluster. On the
    CPU without gradients, a matrix product with the scaled neighbourhoods avoids computing the other N - 1.

    Args:
        x: input features (B, C_in, D, H, W).
        weight: shared kernel (C_out, C_in, 27), taps in the order of a flattened 3x3x3 kernel.
        tap_weights: scale of each tap per cluster, (B, N, 27).
        bias: bias per cluster, (B, N, C_out).
        labels: cluster of each voxel, (B, D*H*W) int64, from 0 to N - 1 (not checked).
        residual: features to add, (B, C_out, D, H, W).

    Returns:
        Features (B, C_out, D, H, W), in the wider of the dtypes of the convolution and the residual.

    Raises:
        ValueError: if the shapes do not match.

    Source: the spatial-awareness convolution of Cheng et al., CVPR 2025.
    """
    batch, in_channels, *shape = x.shape
    num_clusters, out_channels = tap_weights.shape[1], weight.shape[0]
    if (
        weight.shape != (out_channels, in_channels, NUM_TAPS)
        or tap_weights.shape != (batch, num_clusters, NUM_TAPS)
        or bias.shape != (batch, num_clusters, out_channels)
        or labels.shape != (batch, math.prod(shape))
        or residual.shape != (batch, out_channels, *shape)
    ):
        raise ValueError(
            f"Shapes do not match: input {tuple(x.shape)}, weight {tuple(weight.shape)}, tap weights "
            f"{tuple(tap_weights.shape)}, bias {tuple(bias.shape)}, labels {tuple(labels.shape)}, residual "
            f"{tuple(residual.shape)}; they must be (B, C_in, D, H, W), (C_out, C_in, 27), (B, N, 27), "
            "(B, N, C_out), (B, D*H*W) and (B, C_out, D, H, W)."
        )
    if runs_fused(x, channels=out_channels):
        from .triton.adaptive_conv import AdaptiveResidualConv3d

        with torch.cuda.device_of(x):
            # An autograd function cannot tell whether a backward pass will follow.
            return AdaptiveResidualConv3d.apply(
                x.to(convolution_dtype(x)), weight, tap_weights, bias, labels, residual, torch.is_grad_enabled()
            )
    if goes_by_slabs(x):
        return _by_matrix_products(x, weight, tap_weights, bias, labels, residual)
    kernels = tap_weights[:, :, None, None, :] * weight
    every_cluster = F.conv3d(
        x.reshape(1, batch * in_channels, *shape),
        kernels.reshape(batch * num_clusters * out_channels, in_channels, 3, 3, 3),
        bias.reshape(-1),
        padding=1,
        groups=batch,
    ).reshape(batch, num_clusters, out_channels, -1)
    index = labels[:, None, None, :].expand(-1, 1, out_channels, -1)
    convolved = every_cluster.gather(1, index).reshape(batch, out_channels, *shape)
    return F.leaky_relu(convolved, NEGATIVE_SLOPE) + residual


def _by_matrix_products(
    x: torch.Tensor,
    weight: torch.Tensor,
    tap_weights: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor,
    residual: torch.Tensor,
) -> torch.Tensor:
    """Compute `adaptive_residual_conv3d` without gradients, a few rows of voxels at a time.

    The scaled neighbourhoods of these rows, and their product with the shared kernel, stay in the cache.
    """
    batch, in_channels, depth, height, width = x.shape
    out_channels = weight.shape[0]
    kernel = weight.permute(2, 1, 0).reshape(NUM_TAPS * in_channels, out_channels)
    padded = F.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1, 1, 1))
    # A view, (B, D, H, W, 3, 3, 3, C).
    neighbourhoods = padded.unfold(1, 3, 1).unfold(2, 3, 1).unfold(3, 3, 1).movedim(4, -1)
    clusters = labels.reshape(batch, depth, height * width)
    # Start with the residual, and add each slab while it is in the cache.
    output = residual.to(torch.promote_types(weight.dtype, residual.dtype)).movedim(1, -1)
    output = output.clone(memory_format=torch.contiguous_format).reshape(batch, depth, height * width, out_channels)
    rows = max(1, CACHED_VALUES // (width * NUM_TAPS * in_channels))
    scaled = weight.new_empty(min(rows, height), width, 3, 3, 3, in_channels)
    for item, d, h in product(range(batch), range(depth), range(0, height, rows)):
        here = neighbourhoods[item, d, h : h + rows]
        voxels = slice(h * width, (h + rows) * width)
        cluster = clusters[item, d, voxels]
        taps = tap_weights[item].index_select(0, cluster).reshape(*here.shape[:-1], 1)
        patches = torch.mul(here, taps, out=scaled[: len(here)]).reshape(-1, len(kernel))
        convolved = torch.addmm(bias[item].index_select(0, cluster), patches, kernel)
        output[item, d, voxels] += F.leaky_relu_(convolved, NEGATIVE_SLOPE)
    dtype = torch.promote_types(convolution_dtype(x), residual.dtype)
    return output.reshape(batch, depth, height, width, out_channels).movedim(-1, 1).to(dtype)
