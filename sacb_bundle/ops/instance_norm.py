"""Instance normalisation followed by a leaky ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .tracing import suits_cpu

NEGATIVE_SLOPE = 0.1


def instance_norm_leaky_relu(
    x: torch.Tensor, negative_slope: float = NEGATIVE_SLOPE, eps: float = 1e-5, overwrite: bool = False
) -> torch.Tensor:
    """Normalise each channel of each batch item to mean 0 and variance 1, then apply a leaky ReLU.

    The statistics are computed in fp32 by one plain reduction: with few channels and many voxels,
    `torch.nn.functional.instance_norm` leaves most of a GPU idle.

    Args:
        x: features (B, C, D, H, W).
        negative_slope: slope of the leaky ReLU below zero.
        eps: value added to the (biased) variance.
        overwrite: reuse the memory of x, which must not be needed later and must not require a gradient.

    Returns:
        Features (B, C, D, H, W), in the dtype of x.
    """
    if suits_cpu(x):
        return _on_cpu(x, negative_slope, eps, overwrite)
    variance, mean = torch.var_mean(x.float(), dim=(2, 3, 4), correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    return F.leaky_relu(torch.addcmul(-mean * scale, x.float(), scale), negative_slope).to(x.dtype)


def _on_cpu(x: torch.Tensor, negative_slope: float, eps: float, overwrite: bool) -> torch.Tensor:
    """Apply `instance_norm_leaky_relu` on the CPU, where `torch.var_mean` takes longer than all the rest.

    The result has the channels last in memory, like that of `conv3d`. Rows of W * C values, rather than C, make the
    inner loops long. The variance is the diagonal of the Gram matrix of the centred values: one pass over memory, in
    slices along D whose sums stay accurate in fp32.
    """
    batch, channels, depth, height, width = x.shape
    rows = x.float().movedim(1, -1).reshape(batch, depth * height, width * channels)
    num_voxels = depth * height * width
    mean = rows.sum(dim=1).reshape(batch, width, channels).sum(dim=1) / num_voxels
    mean = mean.repeat(1, width).unsqueeze(1)
    centred = rows.sub_(mean) if overwrite else rows - mean
    slices = centred.reshape(batch * depth, height * width, channels)
    with torch.autocast("cpu", enabled=False):
        squares = torch.bmm(slices.transpose(1, 2), slices).diagonal(dim1=1, dim2=2)
    scale = torch.rsqrt(squares.reshape(batch, depth, channels).sum(dim=1) / num_voxels + eps)
    scale = scale.repeat(1, width).unsqueeze(1)
    # In place unless a gradient needs the centred values: new memory costs more than the arithmetic.
    normalised = centred * scale if centred.requires_grad else centred.mul_(scale)
    activated = F.leaky_relu_(normalised, negative_slope)
    return activated.reshape(batch, depth, height, width, channels).movedim(-1, 1).to(x.dtype)
