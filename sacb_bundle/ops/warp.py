"""Warping of images and composition of displacement fields, in voxels."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from .fused import runs_fused
from .tracing import numbers, suits_cpu


def warp(image: torch.Tensor, field: torch.Tensor, mode: str = "bilinear") -> torch.Tensor:
    """Sample the image at v + field(v), with zeros outside the image.

    Coordinates stay in fp32 for every image dtype: half precision cannot tell voxel 200 from 200.1.

    Args:
        image: image (B, C, D, H, W).
        field: displacement field (B, 3, D, H, W) in voxels, components along D, H and W.
        mode: "bilinear" (trilinear in 3D) or "nearest", as in `torch.nn.functional.grid_sample`.

    Returns:
        Warped image (B, C, D, H, W), in the dtype of the image.

    Raises:
        ValueError: if the field is not on the grid of the image.

    Example:
        >>> import torch
        >>> field = torch.zeros(1, 3, 1, 1, 4)
        >>> field[:, 2] = 1
        >>> warp(torch.tensor([5.0, 6, 7, 8]).reshape(1, 1, 1, 1, 4), field).flatten().tolist()
        [6.0, 7.0, 8.0, 0.0]
    """
    _check_field(image, field)
    if runs_fused(image, channels=3) and mode == "bilinear":
        from .triton.warp import Warp

        with torch.cuda.device_of(image):
            return Warp.apply(image, field, False)
    # grid_sample takes (x, y, z) = (W, H, D), from -1 at the centre of the first voxel to 1 at that of the last.
    coordinates = [
        (voxel_index(field, axis) + field[:, axis].float()) * (2 / max(field.shape[axis + 2] - 1, 1)) - 1
        for axis in (2, 1, 0)
    ]
    grid = torch.stack(coordinates, dim=-1)
    sample = partial(F.grid_sample, mode=mode, padding_mode="zeros", align_corners=True)
    needs_gradient = image.requires_grad and torch.is_grad_enabled()
    if suits_cpu(image) and len(image) == 1 and not needs_gradient:
        # On the CPU, grid_sample assigns batch items to threads: make each slab of the grid an item (unless each item
        # would get its own image gradient).
        depth, threads = grid.shape[1], torch.get_num_threads()
        slabs = next((number for number in range(threads, depth) if depth % number == 0), depth)
        items = sample(image.float().expand(slabs, -1, -1, -1, -1), grid.unflatten(1, (slabs, -1)).squeeze(0))
        sampled = items.movedim(0, 1).flatten(1, 2).unsqueeze(0)
    else:
        sampled = sample(image.float(), grid)
    return sampled.to(image.dtype)


def voxel_index(field: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the voxel index along an axis.

    Args:
        field: displacement field (B, 3, D, H, W).
        axis: 0 for D, 1 for H, 2 for W.

    Returns:
        The indices, fp32, broadcastable to (B, D, H, W).
    """
    shape = [1, 1, 1]
    shape[axis] = field.shape[axis + 2]
    return numbers(field.movedim(axis + 2, 0)[:, 0, 0, 0, 0].float()).reshape(shape)


def _check_field(image: torch.Tensor, field: torch.Tensor) -> None:
    """Raise a ValueError unless the field is on the grid of the image."""
    expected = (len(image), 3, *image.shape[2:])
    if field.shape != expected:
        raise ValueError(f"The field is {tuple(field.shape)}; for an image {tuple(image.shape)} it must be {expected}.")


def compose(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the field whose warp equals warping by `first`, then by `second`: first(v + second(v)) + second(v).

    Args:
        first: displacement field (B, 3, D, H, W), in voxels.
        second: displacement field (B, 3, D, H, W), in voxels.

    Returns:
        Displacement field (B, 3, D, H, W), in voxels.

    Raises:
        ValueError: if the fields are on different grids.

    Example:
        >>> import torch
        >>> compose(torch.ones(1, 3, 4, 4, 4), torch.ones(1, 3, 4, 4, 4))[0, :, 0, 0, 0].tolist()
        [2.0, 2.0, 2.0]
    """
    _check_field(first, second)
    if runs_fused(first):
        from .triton.warp import Warp

        with torch.cuda.device_of(first):
            return Warp.apply(first, second, True)
    return warp(first, second) + second


def integrate(velocity: torch.Tensor, steps: int) -> torch.Tensor:
    """Return the displacement after unit time in a stationary velocity field, by scaling and squaring.

    Source: Arsigny et al., "A Log-Euclidean Framework for Statistics on Diffeomorphisms", MICCAI 2006.

    Args:
        velocity: velocity field (B, 3, D, H, W), in voxels.
        steps: number of squarings; 0 returns the velocity itself.

    Returns:
        Displacement field (B, 3, D, H, W), in voxels.

    Example:
        >>> import torch
        >>> integrate(torch.ones(1, 3, 9, 9, 9), steps=3)[0, :, 4, 4, 4].tolist()
        [1.0, 1.0, 1.0]
    """
    field = velocity / 2**steps if steps else velocity
    for _ in range(steps):
        field = compose(field, field)
    return field


def upsample_field(field: torch.Tensor) -> torch.Tensor:
    """Upsample a displacement field to a grid of twice the size, in voxels of that grid.

    Args:
        field: displacement field (B, 3, D, H, W), in voxels.

    Returns:
        Displacement field (B, 3, 2D, 2H, 2W), in voxels of the new grid.

    Example:
        >>> import torch
        >>> upsample_field(torch.ones(1, 3, 2, 2, 2)).unique().tolist()
        [2.0]
    """
    if runs_fused(field, channels=24):
        from .triton.upsample import UpsampleField

        with torch.cuda.device_of(field):
            return UpsampleField.apply(field)
    return 2 * F.interpolate(field.float(), scale_factor=2, mode="trilinear", align_corners=True)
