"""The switch between the plain operations and the fused kernels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from .tracing import is_traced

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on")
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Within an item of a batch the kernels count with 32 bits.
MAX_VALUES = 2**30


def has_triton() -> bool:
    """Whether Triton is installed, of a version that the kernels were tested with."""
    for name in ("triton", "pytorch-triton"):
        with suppress(PackageNotFoundError):
            major, minor = version(name).split(".")[:2]
            return (int(major), int(minor)) >= (3, 6)
    return False


HAS_TRITON = has_triton()

_enabled = os.environ.get("SACB_FUSED", "1") != "0"


@contextmanager
def fused_kernels(enabled: bool) -> Iterator[None]:
    """Turn the fused kernels on or off within a block; the environment variable SACB_FUSED=0 does so for a program.

    Example:
        >>> import torch
        >>> from sacb_bundle.ops import halve
        >>> with fused_kernels(False):
        ...     coarse = halve(torch.rand(1, 1, 4, 4, 4))
    """
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def runs_fused(x: torch.Tensor, channels: int = 1) -> bool:
    """Whether operations on this tensor take the fused kernels.

    They run on CUDA devices of compute capability 8.0 and above where there is Triton 3.6, for fp32, fp16 and bf16,
    unless turned off or traced. With TRITON_INTERPRET=1 Triton interprets them, and they run on the CPU.

    Args:
        x: an input of the operation, (B, C, ...).
        channels: the most channels of another tensor on the same grid.
    """
    if is_traced() or not (_enabled and HAS_TRITON and x.dtype in DTYPES):
        return False
    if max(channels, x.shape[1]) * x.shape[2:].numel() > MAX_VALUES:
        return False
    return has_tensor_cores(x.device) if x.is_cuda else INTERPRETED and x.device.type == "cpu"


@cache
def has_tensor_cores(device: torch.device) -> bool:
    """Whether the device multiplies matrices in TF32 and bf16 (compute capability 8.0 and above)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def convolution_dtype(x: torch.Tensor) -> torch.dtype:
    """Dtype of a convolution of x: that of autocast where autocast is on."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
