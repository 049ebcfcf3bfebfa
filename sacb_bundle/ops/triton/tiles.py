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
        *("block_in", "block_out", "num_labels"),
    ]
)


@compiled
def neighbour(voxel, shift_d, shift_h, shift_w, depth, height, width):
    """Return the index of each voxel's neighbour at an offset, and whether the neighbour lies inside the image.

    Args:
        voxel: indices of voxels in the flat image.
        shift_d: offset along D, in voxels.
        shift_h: offset along H, in voxels.
        shift_w: offset along W, in voxels.
        depth: D, number of voxels along the first axis.
        height: H, number of voxels along the second axis.
        width: W, number of voxels along the third axis.

    Returns:
        Indices of the neighbours in the flat image, to be read only where the mask, the second result, is true.
    """
    d, h, w = voxel // (height * width) + shift_d, voxel // width % height + shift_h, voxel % width + shift_w
    inside = (d >= 0) & (d < depth) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
    return voxel + (shift_d * height + shift_h) * width + shift_w, inside


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor with the channels last in memory.

    Args:
        x: tensor (B, C, D, H, W).

    Returns:
        Tensor (B, C, D, H, W) with the same values; x itself if it has that layout.
    """
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
    """Return the quotient, rounded up. Triton's own function takes ten times as long on the host.

    Args:
        dividend: number of elements.
        divisor: number of elements per block.

    Returns:
        Number of blocks that hold all elements.
    """
    return -(-dividend // divisor)


def next_power_of_2(number: int) -> int:
    """Return the smallest power of 2 that is at least `number`. Triton's own function takes ten times as long.

    Args:
        number: whole number of at least 1.

    Returns:
        Power of 2.
    """
    return 1 << (number - 1).bit_length()


def block_size(size: int) -> int:
    """Return the number of elements per tile.

    Args:
        size: number of elements per tile on a GPU, a power of 2.

    Returns:
        `size`; in the interpreter, at least `LEAST_BLOCK`.
    """
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
    """Return the precision of fp32 matrix products: TF32 if PyTorch allows it for convolutions, else nearly fp32.

    Returns:
        The `input_precision` of Triton's dot: "tf32", or "tf32x3", which adds three products in TF32.
    """
    switch = getattr(torch.backends.cudnn, "conv", None)  # since PyTorch 2.9
    allowed = torch.backends.cudnn.allow_tf32 if switch is None else switch.fp32_precision == "tf32"
    return "tf32" if allowed else "tf32x3"
