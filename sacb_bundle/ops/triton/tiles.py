"""How tensors are laid out for the kernels, and how the work is cut into tiles."""

from __future__ import annotations

import torch
import triton
import triton.language as tl  # noqa: F401 (the interpreter looks for it)

from ..fused import INTERPRETED

# Fewest elements of a tile: the interpreter's cost is per tile and not per element.
LEAST_BLOCK = 4096 if INTERPRETED else 1

# `triton.jit` for kernels that are not compiled anew for every kind of image size.
compiled = triton.jit(
    do_not_specialize=[
        *("depth", "height", "width", "stride", "size_along", "window", "volume", "count", "units", "workers"),
        *("num_clusters", "total", "in_channels", "out_channels", "planes", "rows", "chunks", "groups"),
        *("block_in", "block_out"),
    ]
)


@compiled
def neighbour(voxel, shift_d, shift_h, shift_w, depth, height, width):
    """Index of the neighbour of each voxel at an offset, and whether it lies inside."""
    d, h, w = voxel // (height * width) + shift_d, voxel // width % height + shift_h, voxel % width + shift_w
    inside = (d >= 0) & (d < depth) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    return voxel + (shift_d * height + shift_h) * width + shift_w, inside


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same tensor (B, C, D, H, W), with the channels of a voxel side by side in memory."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def empty_channels_last(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """An uninitialised (B, C, D, H, W) tensor with the channels of a voxel side by side."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def cdiv(dividend: int, divisor: int) -> int:
    """Quotient, rounded up. Triton's own function takes ten times as long on the host."""
    return -(-dividend // divisor)


def next_power_of_2(number: int) -> int:
    """The smallest power of 2 that is not less than the number. Triton's own function takes ten times as long."""
    return 1 << (number - 1).bit_length()


def block_size(size: int) -> int:
    """Elements of a tile: `size` on a GPU."""
    return max(size, LEAST_BLOCK)


def num_workers(device: torch.device, per_multiprocessor: int) -> int:
    """Programs of a launch in which every program works through many tiles."""
    if device.type != "cuda":
        return 2
    return per_multiprocessor * torch.cuda.get_device_properties(device).multi_processor_count


def dot_precision() -> str:
    """Precision of fp32 matrix products, as PyTorch's switch for convolutions has it: TF32, or nearly fp32."""
    switch = getattr(torch.backends.cudnn, "conv", None)  # since PyTorch 2.9
    allowed = torch.backends.cudnn.allow_tf32 if switch is None else switch.fp32_precision == "tf32"
    return "tf32" if allowed else "tf32x3"
