"""Switch between the plain operations and the fused kernels."""

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
# The kernels index the values of a batch item with 32 bits.
MAX_VALUES = 2**30


def _has_triton() -> bool:
    """Return whether Triton is installed in a version that the kernels were tested with (3.6 or later)."""
    for name in ("triton", "pytorch-triton"):
        with suppress(PackageNotFoundError):
            major, minor = version(name).split(".")[:2]
            return (int(major), int(minor)) >= (3, 6)
    return False


HAS_TRITON = _has_triton()

_enabled = os.environ.get("SACB_FUSED", "1") != "0"


@contextmanager
def fused_kernels(enabled: bool) -> Iterator[None]:
    """Turn the fused kernels on or off within a block; the environment variable SACB_FUSED=0 turns them off globally.

    Args:
        enabled: whether operations may use the fused kernels.

    Returns:
        A context manager that restores the previous setting at the end of the block.

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


def fused_kernels_enabled() -> bool:
    """Return whether the fused kernels are turned on.

    Returns:
        The setting of `fused_kernels` or SACB_FUSED; other conditions are not checked, see `runs_fused`.
    """
    return _enabled


def runs_fused(x: torch.Tensor, channels: int = 1) -> bool:
    """Return whether operations on this tensor use the fused kernels.

    The kernels run on CUDA devices of compute capability 8.0 and above with Triton 3.6 or later, for fp32, fp16 and
    bf16, unless they are turned off or traced. With TRITON_INTERPRET=1, Triton interprets them on the CPU.

    Args:
        x: an input of the operation, (B, C, ...).
        channels: largest number of channels of any other tensor on the same grid.

    Returns:
        True if the fused kernels are used.
    """
    if is_traced() or not (_enabled and HAS_TRITON and x.dtype in DTYPES):
        return False
    if max(channels, x.shape[1]) * x.shape[2:].numel() > MAX_VALUES:
        return False
    return _has_tensor_cores(x.device) if x.is_cuda else INTERPRETED and x.device.type == "cpu"


@cache
def _has_tensor_cores(device: torch.device) -> bool:
    """Return whether the device multiplies matrices in TF32 and bf16 (compute capability 8.0 and above)."""
    return torch.cuda.get_device_capability(device) >= (8, 0)


def convolution_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the dtype in which x is convolved.

    Args:
        x: input of the convolution.

    Returns:
        The autocast dtype if autocast is on, otherwise the dtype of x.
    """
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
