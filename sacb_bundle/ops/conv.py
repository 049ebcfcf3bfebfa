"""3x3x3 convolution, alone or followed by instance normalisation and a leaky ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .fused import convolution_dtype, runs_fused
from .instance_norm import NEGATIVE_SLOPE, instance_norm_leaky_relu
from .tracing import suits_cpu


def conv3d(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Apply a zero-padded 3x3x3 convolution.

    Args:
        x: input features (B, C_in, D, H, W).
        weight: kernel (C_out, C_in, 3, 3, 3).
        bias: bias (C_out,), or None.

    Returns:
        Features (B, C_out, D, H, W).

    Raises:
        ValueError: if the shape of the weight does not match the input.

    Example:
        >>> import torch
        >>> conv3d(torch.ones(1, 2, 4, 5, 6), torch.ones(3, 2, 3, 3, 3), None).shape
        torch.Size([1, 3, 4, 5, 6])
    """
    _check_channels([x], weight)
    if runs_fused(x, channels=len(weight)):
        from .triton.conv import Conv3d

        with torch.cuda.device_of(x):
            return Conv3d.apply(x.to(convolution_dtype(x)), weight, bias)
    return _on_cpu(x, weight, bias) if suits_cpu(x) else F.conv3d(x, weight, bias, padding=1)


def _on_cpu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Apply `conv3d` on the CPU with the channels last in memory, which halves the time; return that layout.

    If there are fewer outputs than a vector register has lanes, also compute neighbouring voxels along W as further
    outputs, with a longer kernel and a stride of as many voxels.
    """
    batch, in_channels, depth, height, width = x.shape
    out_channels = weight.shape[0]
    lanes = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8
    voxels = max(n for n in (1, 2, 4) if n == 1 or (n * out_channels <= lanes and width % n == 0))
    # conv3d recognises the layout by the strides. For a single channel, contiguous() would not set them.
    channels_last = x.movedim(1, -1).flatten(3).unflatten(3, (width, in_channels)).movedim(-1, 1)
    kernel = torch.cat([F.pad(weight, (n, voxels - 1 - n)) for n in range(voxels)])
    bias = None if bias is None else bias.repeat(voxels)
    y = F.conv3d(channels_last, kernel, bias, stride=(1, 1, voxels), padding=1)
    # PyTorch computes small inputs otherwise on some CPUs, and returns them with the channels first in memory.
    return y.movedim(1, -1).reshape(batch, depth, height, width, out_channels).contiguous().movedim(-1, 1)


def conv_norm_leaky_relu(
    inputs: Sequence[torch.Tensor],
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    negative_slope: float = NEGATIVE_SLOPE,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Apply a zero-padded 3x3x3 convolution, then `instance_norm_leaky_relu`.

    The normalisation cancels the bias, whose gradient is zero.

    Args:
        inputs: tensors (B, C_i, D, H, W) that are concatenated along the channels, C_in channels in total.
        weight: kernel (C_out, C_in, 3, 3, 3).
        bias: bias (C_out,), or None.
        negative_slope: slope of the leaky ReLU below zero, positive.
        eps: value added to the (biased) variance.

    Returns:
        Features (B, C_out, D, H, W).

    Raises:
        ValueError: if the shape of the weight does not match the inputs, or the slope is not positive.
    """
    _check_channels(inputs, weight)
    if negative_slope <= 0:
        raise ValueError(
            f"negative_slope is {negative_slope}; it must be positive, so that the activation is invertible."
        )
    if all(runs_fused(x, channels=len(weight)) for x in inputs):
        from .triton.conv_norm import ConvNormLeakyReLU

        dtype = convolution_dtype(max(inputs, key=lambda x: x.element_size()))
        with torch.cuda.device_of(inputs[0]):
            return ConvNormLeakyReLU.apply(weight, bias, negative_slope, eps, *(x.to(dtype) for x in inputs))
    x = inputs[0] if len(inputs) == 1 else torch.cat(list(inputs), dim=1)
    y = conv3d(x, weight, bias)
    return instance_norm_leaky_relu(y, negative_slope, eps, overwrite=not y.requires_grad)


def _check_channels(inputs: Sequence[torch.Tensor], weight: torch.Tensor) -> None:
    """Raise a ValueError unless the weight has the shape of a 3x3x3 convolution of the inputs."""
    channels = sum(x.shape[1] for x in inputs)
    if weight.shape[1:] != (channels, 3, 3, 3):
        raise ValueError(
            f"The weight is {tuple(weight.shape)}; for {channels} channels it must be (C_out, {channels}, 3, 3, 3)."
        )
