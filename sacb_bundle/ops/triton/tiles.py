"""Memory layout of tensors and tiling of work for the kernels."""

from __future__ import annotations

import torch
import triton
import triton.language as tl  # noqa: F401 (the interpreter looks for it)

from ..fused import INTERPRETED

# Minimum number of elements per tile: the interpreter's cost is per tile, not per element.
LEAST_BLOCK = 4096 if INTERPRETED else 1

# `triton.jit` without recompilation for new image sizes.
compiled = triton.jit(
    do_not_specialize=[
        *("depth", "height", "width", "stride", "size_along", "window", "volume", "count", "units", "workers"),
        *("num_clusters", "total", "in_channels", "out_channels", "planes", "rows", "chunks", "groups"),
        *("block_in", "block_out"),
    ]
)


@compiled
def neighbour(voxel, shift_d, shift_h, shift_w, depth, height, width):
    """Return the index of each voxel's neighbour at an offset, and whether the neighbour lies inside the image."""
    d, h, w = voxel // (height * width) + shift_d, voxel // width % height + shift_h, voxel % width + shift_w
    inside = (d >= 0) & (d < depth) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    return voxel + (shift_d * height + shift_h) * width + shift_w, inside


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return x (B, C, D, H, W) with the channels last in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def empty_channels_last(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Return an uninitialised tensor with the channels last in memory.

    Args:
        shape: shape (B, C, D, H, W).
        like: tensor that gives dtype and device.

    Returns:
        Tensor (B, C, D, H, W).
    """
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def cdiv(dividend: int, divisor: int) -> int:
    """Return the quotient, rounded up. Triton's own function takes ten times as long on the host."""
    return -(-dividend // divisor)


def next_power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is at least `number`. Triton's own function takes ten times as long."""
    return 1 << (number - 1).bit_length()


def block_size(size: int) -> int:
    """Return the number of elements per tile: `size` on a GPU, possibly more in the interpreter."""
    return max(size, LEAST_BLOCK)


def num_workers(device: torch.device, per_multiprocessor: int) -> int:
    """Return the number of programs for a launch in which each program processes many tiles.

    Args:
        device: device of the launch.
        per_multiprocessor: number of programs per multiprocessor of a GPU.

    Returns:
        Number of programs; 2 in the interpreter.
    """
    if device.type != "cuda":
        return 2
    return per_multiprocessor * torch.cuda.get_device_properties(device).multi_processor_count


def dot_precision() -> str:
    """Return the precision of fp32 matrix products: TF32 if PyTorch allows it for convolutions, else nearly fp32."""
    switch = getattr(torch.backends.cudnn, "conv", None)  # since PyTorch 2.9
    allowed = torch.backends.cudnn.allow_tf32 if switch is None else switch.fp32_precision == "tf32"
    return "tf32" if allowed else "tf32x3"
