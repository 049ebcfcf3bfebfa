"""The switch between the plain operations and the fused kernels."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

HAS_TRITON = importlib.util.find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Within an item of a batch the kernels count with 32 bits.
MAX_VALUES = 2**30

_enabled = os.environ.get("SACB_FUSED", "1") != "0"


@contextmanager
def fused_kernels(enabled: bool) -> Iterator[None]:
    """Turn the fused kernels on or off within a block; the environment variable SACB_FUSED=0 does so for a program.

    Example:
        >>> import torch
        >>> with fused_kernels(False):
        ...     features = conv_norm_leaky_relu(torch.rand(1, 1, 4, 4, 4), torch.rand(2, 1, 3, 3, 3), torch.rand(2))
    """
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def runs_fused(x: torch.Tensor) -> bool:
    """Whether operations on this tensor take the fused kernels: on CUDA devices with Triton, unless turned off.

    With TRITON_INTERPRET=1 Triton interprets the kernels, and they run on the CPU.
    """
    if not (_enabled and HAS_TRITON and x.dtype in DTYPES and x.numel() <= MAX_VALUES * max(len(x), 1)):
        return False
    return has_tensor_cores(x.device) if x.is_cuda else INTERPRETED and x.device.type == "cpu"


@cache
def has_tensor_cores(device: torch.device) -> bool:
    """Whether the device multiplies matrices in TF32 and bf16 (compute capability 8.0 and above)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def autocast_input(x: torch.Tensor) -> torch.Tensor:
    """What a convolution makes of its input: the autocast dtype where autocast is on."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
