"""Support for tracing and exporting a network that then runs on other sizes and devices.

A trace fixes Python numbers that do not derive from tensor sizes, and the devices of tensors created on the way. Traced
operations therefore avoid special paths for the CPU or for one size, and derive indices from other tensors.
"""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Return whether `torch.jit.trace` or `torch.export` is recording.

    Returns:
        True while one of them records operations.
    """
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def suits_cpu(x: torch.Tensor) -> bool:
    """Return whether an operation takes its faster path for the CPU.

    Args:
        x: input of the operation.

    Returns:
        True on the CPU, unless tracing.
    """
    return x.device.type == "cpu" and not is_traced()


def goes_by_slabs(x: torch.Tensor) -> bool:
    """Return whether an operation processes a tensor in slabs.

    Args:
        x: input of the operation.

    Returns:
        True on the CPU without gradients, unless tracing.
    """
    return suits_cpu(x) and not torch.is_grad_enabled()


def numbers(x: torch.Tensor) -> torch.Tensor:
    """Return the numbers 0 to V - 1.

    Args:
        x: tensor (V,) that gives the length, dtype and device.

    Returns:
        Numbers (V,).
    """
    if is_traced():
        return torch.ones_like(x).cumsum(0) - 1
    return torch.arange(len(x), dtype=x.dtype, device=x.device)
