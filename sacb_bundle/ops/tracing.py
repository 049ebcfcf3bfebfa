"""What differs while a network is being traced or exported, for a program that runs on other sizes and devices.

A trace keeps the Python numbers that do not come from the sizes of tensors, and the devices of tensors that are made on
the way. So, in a trace, operations do without what suits the CPU or one size alone, and count by other tensors.
"""

from __future__ import annotations

import torch


def is_traced() -> bool:
    """Whether `torch.jit.trace` or `torch.export` is recording what goes on."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def suits_cpu(x: torch.Tensor) -> bool:
    """Whether an operation takes the way that is faster on the CPU."""
    return x.device.type == "cpu" and not is_traced()


def goes_by_slabs(x: torch.Tensor) -> bool:
    """Whether an operation handles a tensor a part at a time: on the CPU, where no gradient needs the parts."""
    return suits_cpu(x) and not torch.is_grad_enabled()


def numbers(x: torch.Tensor) -> torch.Tensor:
    """The numbers from 0, as many as x (V,) has values, in the dtype and on the device of x."""
    if is_traced():
        return torch.ones_like(x).cumsum(0) - 1
    return torch.arange(len(x), dtype=x.dtype, device=x.device)
