"""Operations of the network as it calls them, with their arithmetic and minimum memory traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sacb_bundle.ops import (
    adaptive_residual_conv3d,
    compose,
    conv3d,
    conv_norm_leaky_relu,
    halve,
    initial_centroids,
    kmeans,
    local_ncc,
    match_similarity,
    spatial_descriptor,
    squared_differences,
    upsample_field,
    warp,
)

Shape = tuple[int, int, int]
K_MEANS_ITERATIONS = 5


@dataclass(frozen=True)
class Operation:
    """An operation as the network calls it.

    Attributes:
        name: name of the operation.
        where: resolution level and channels.
        run: function that runs the operation on fixed inputs.
        parameters: tensors that get a gradient when the backward pass is measured; empty if there is none.
        operations: number of floating-point operations of the forward pass.
        values: minimum number of values that it reads and writes (inputs and outputs).
        backward_work: bytes and operations of the backward pass relative to the forward pass: 2 if it needs the inputs
            again and computes a gradient for each, 1 if the operation is linear.
    """

    name: str
    where: str
    run: Callable[[], torch.Tensor]
    parameters: Sequence[torch.Tensor]
    operations: float
    values: float
    backward_work: int = 2


def network_operations(device: torch.device, shape: Shape, num_clusters: int) -> list[Operation]:
    """Return the operations of the network on both images, at the resolutions where they cost most.

    Args:
        device: device of the inputs.
        shape: sizes D, H and W of the images.
        num_clusters: number of k-means clusters.

    Returns:
        Operations with random inputs.
    """

    def random(*size: int) -> torch.Tensor:
        return torch.randn(size, device=device, requires_grad=True)

    def features(*size: int) -> torch.Tensor:
        """Return random features with the channels last in memory, like all feature maps of the network."""
        x = torch.randn(size, device=device).contiguous(memory_format=torch.channels_last_3d)
        return x.requires_grad_()

    def at(level: int) -> tuple[Shape, int]:
        depth, height, width = (size >> (level - 1) for size in shape)
        return (depth, height, width), depth * height * width

    listed: list[Operation] = []

    def add(
        name: str,
        where: str,
        run: Callable[..., torch.Tensor],
        inputs: Sequence[torch.Tensor],
        operations: float,
        values: float,
        has_gradient: bool = True,
        backward_work: int = 2,
    ) -> None:
        parameters = inputs if has_gradient else ()
        listed.append(Operation(name, where, lambda: run(*inputs), parameters, operations, values, backward_work))

    for level, inward, outward in ((1, 1, 4), (1, 4, 8), (1, 8, 8), (2, 16, 16), (3, 32, 32), (4, 64, 64)):
        size, voxels = at(level)
        add(
            "conv_norm_leaky_relu",
            f"level {level}, 2 x {inward} to {outward}",
            lambda x, weight: conv_norm_leaky_relu([x], weight, None),
            (features(2, inward, *size), random(outward, inward, 3, 3, 3)),
            2 * 54 * inward * outward * voxels,
            2 * (inward + outward) * voxels,
        )
    size, voxels = at(1)
    add(
        "conv3d",
        "level 1, 8 to 3",
        conv3d,
        (features(1, 8, *size), random(3, 8, 3, 3, 3), random(3)),
        54 * 24 * voxels,
        11 * voxels,
    )
    for level, channels in ((2, 16), (3, 32), (4, 64)):
        size, voxels = at(level)
        x = features(2, channels, *size)
        points = spatial_descriptor(x.detach())
        start = initial_centroids(points, num_clusters, seed=0)
        labels, _ = kmeans(points, start, max_iterations=1)
        where = f"level {level}, 2 x {channels}"
        add(
            "spatial_descriptor",
            where,
            lambda x: spatial_descriptor(x.detach()),
            (x,),
            2 * 27 * channels * voxels,
            4 * channels * voxels,
            has_gradient=False,
        )
        add(
            f"kmeans, {K_MEANS_ITERATIONS} iterations",
            where,
            lambda points, start: kmeans(points, start, K_MEANS_ITERATIONS)[0],
            (points, start),
            2 * K_MEANS_ITERATIONS * 4 * num_clusters * channels * voxels,
            2 * (K_MEANS_ITERATIONS * channels + 2) * voxels,
            has_gradient=False,
        )
        add(
            "adaptive_residual_conv3d",
            where,
            lambda x, weight, taps, bias, residual, labels=labels: adaptive_residual_conv3d(
                x, weight, taps, bias, labels, residual
            ),
            (
                x,
                random(channels, channels, 27),
                torch.rand(2, num_clusters, 27, device=device, requires_grad=True),
                random(2, num_clusters, channels),
                features(2, channels, *size),
            ),
            2 * 54 * channels * channels * voxels,
            2 * (3 * channels + 2) * voxels,
        )
        add(
            "match_similarity",
            f"level {level}, {channels}",
            match_similarity,
            (features(1, channels, *size), features(1, channels, *size)),
            54 * channels * voxels,
            (2 * channels + 3) * voxels,
        )
    field = (torch.randn(1, 3, *size_of(shape, 16), device=device) * 2).detach()
    field = nn.functional.interpolate(field, size=shape, mode="trilinear", align_corners=True).requires_grad_()
    add("warp", "level 1, 8", warp, (features(1, 8, *shape), field), 16 * 8 * voxels_of(shape), 19 * voxels_of(shape))
    add("compose", "level 1", compose, (random(1, 3, *shape), field), 16 * 3 * voxels_of(shape), 9 * voxels_of(shape))
    size, voxels = at(2)
    add(
        "upsample_field",
        "level 2 to 1",
        upsample_field,
        (random(1, 3, *size),),
        16 * 24 * voxels,
        27 * voxels,
        backward_work=1,
    )
    add(
        "halve",
        "level 1 to 2, 2 x 8",
        halve,
        (features(2, 8, *shape),),
        16 * voxels_of(shape),
        18 * voxels_of(shape),
        backward_work=1,
    )
    image = torch.rand(1, 1, *shape, device=device)
    add(
        "local_ncc",
        "level 1",
        lambda warped: local_ncc(warped, image),
        (torch.rand(1, 1, *shape, device=device, requires_grad=True),),
        60 * voxels_of(shape),
        3 * voxels_of(shape),
    )
    add("squared_differences", "level 1", squared_differences, (field,), 27 * voxels_of(shape), 3 * voxels_of(shape))
    return listed


def size_of(shape: Shape, divisor: int) -> Shape:
    """Return the shape divided by a number."""
    depth, height, width = (size // divisor for size in shape)
    return depth, height, width


def voxels_of(shape: Shape) -> int:
    """Return the number of voxels."""
    return shape[0] * shape[1] * shape[2]
