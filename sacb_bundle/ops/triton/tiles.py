"""How tensors are laid out for the kernels, and how the work is cut into tiles."""

from __future__ import annotations

import torch
import triton

INTERPRETED = triton.knobs.runtime.interpret

# `triton.jit` for kernels that are not compiled anew for every kind of image size.
compiled = triton.jit(
    do_not_specialize=[
        *("depth", "height", "width", "stride", "size_along", "window", "volume", "count", "units", "workers"),
        *("num_clusters", "total", "in_channels", "out_channels", "planes", "rows", "chunks", "groups"),
        *("block_in", "block_out"),
    ]
)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same tensor (B, C, D, H, W), with the channels of a voxel side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def empty_channels_last(shape: tuple[int, ...], like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """An uninitialised (B, C, D, H, W) tensor with the channels of a voxel side by side."""
    return torch.empty(shape, dtype=dtype or like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def block_size(size: int) -> int:
    """Elements of a tile: `size` on a GPU; more in the interpreter, whose cost is per tile and not per element."""
    return max(size, 4096) if INTERPRETED else size


def num_workers(device: torch.device, per_multiprocessor: int) -> int:
    """Programs of a launch in which every program works through many tiles."""
    if device.type != "cuda":
        return 2
    return per_multiprocessor * torch.cuda.get_device_properties(device).multi_processor_count


def dot_precision() -> str:
    """Precision of fp32 matrix products, as PyTorch's switch for convolutions has it: TF32, or nearly fp32."""
    return "tf32" if torch.backends.cudnn.allow_tf32 else "tf32x3"
