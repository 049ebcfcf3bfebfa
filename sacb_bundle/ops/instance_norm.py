"""Instance normalisation followed by a leaky ReLU."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .tracing import suits_cpu

NEGATIVE_SLOPE = 0.1


def instance_norm_leaky_relu(
    x: torch.Tensor, negative_slope: float = NEGATIVE_SLOPE, eps: float = 1e-5, overwrite: bool = False
) -> torch.Tensor:
    """Normalise each channel of each sample to mean 0 and variance 1, then apply a leaky ReLU.

    The statistics are taken in fp32 by one plain reduction: with few channels and many voxels
    `torch.nn.functional.instance_norm` keeps most of a GPU idle.

    Args:
        x: (B, C, D, H, W).
        negative_slope: slope of the leaky ReLU below zero.
        eps: added to the (biased) variance.
        overwrite: x is not needed any more, and its memory may be used; for tensors without gradient.

    Returns:
        (B, C, D, H, W), in the dtype of x.
    """
    if suits_cpu(x):
        return on_cpu(x, negative_slope, eps, overwrite)
    variance, mean = torch.var_mean(x.float(), dim=(2, 3, 4), correction=0, keepdim=True)
    scale = torch.rsqrt(variance + eps)
    return F.leaky_relu(torch.addcmul(-mean * scale, x.float(), scale), negative_slope).to(x.dtype)


def on_cpu(x: torch.Tensor, negative_slope: float, eps: float, overwrite: bool) -> torch.Tensor:
    """The same for a CPU, whose `torch.var_mean` takes longer than all the rest.

    It returns the channels last in memory, as `conv3d` does. Rows of W * C values, rather than C, make the inner
    loops long. The variance is taken from the centred values, as the diagonal of their Gram matrix: one read of
    memory, in slices of D whose sums keep fp32 exact enough.
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
    # In place where no gradient needs the centred values: new memory costs more than the arithmetic.
    normalised = centred * scale if centred.requires_grad else centred.mul_(scale)
    activated = F.leaky_relu_(normalised, negative_slope)
    return activated.reshape(batch, depth, height, width, channels).movedim(-1, 1).to(x.dtype)
