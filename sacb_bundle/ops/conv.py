"""3x3x3 convolution, on its own and followed by instance normalisation and a leaky ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .fused import autocast_input, runs_fused
from .instance_norm import instance_norm_leaky_relu


def conv3d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """3x3x3 convolution, zero padded.

    Args:
        x: (B, C_in, D, H, W).
        weight: (C_out, C_in, 3, 3, 3).
        bias: (C_out,), or None.

    Returns:
        (B, C_out, D, H, W).
    """
    if runs_fused(x):
        from .triton.conv import Conv3d

        return Conv3d.apply(autocast_input(x), weight, bias)
    return F.conv3d(x, weight, bias, padding=1)


def conv_norm_leaky_relu(
    inputs: Sequence[torch.Tensor],
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    negative_slope: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """3x3x3 convolution, zero padded, then `instance_norm_leaky_relu`.

    The normalisation removes what the bias adds; its gradient is zero.

    Args:
        inputs: tensors (B, C_i, D, H, W) whose channels, one tensor's after another's, are the C_in input channels.
        weight: (C_out, C_in, 3, 3, 3).
        bias: (C_out,), or None.
        negative_slope: slope of the leaky ReLU below zero, positive.
        eps: added to the (biased) variance.

    Returns:
        (B, C_out, D, H, W).
    """
    if all(runs_fused(x) for x in inputs):
        from .triton.conv_norm import ConvNormLeakyReLU

        return ConvNormLeakyReLU.apply(weight, bias, negative_slope, eps, *(autocast_input(x) for x in inputs))
    x = inputs[0] if len(inputs) == 1 else torch.cat(list(inputs), dim=1)
    return instance_norm_leaky_relu(F.conv3d(x, weight, bias, padding=1), negative_slope, eps)
