"""Operations of the network as it calls them, with their arithmetic and minimum memory traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod

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
    inputs = _Inputs(device, shape)
    return [
        *_convolutions(inputs),
        *_adaptive_convolutions(inputs, num_clusters),
        *_resampling(inputs),
        *_losses(inputs),
    ]


@dataclass(frozen=True)
class _Inputs:
    """Random inputs of the operations.

    Attributes:
        device: device of the inputs.
        shape: sizes D, H and W of the images.
    """

    device: torch.device
    shape: Shape

    def at(self, level: int) -> Shape:
        """Return the sizes at a resolution level, each level with half the sizes of the one before; 1 is the first."""
        depth, height, width = (size >> (level - 1) for size in self.shape)
        return depth, height, width

    def normal(self, *size: int) -> torch.Tensor:
        """Return normally distributed values."""
        return torch.randn(size, device=self.device, requires_grad=True)

    def uniform(self, *size: int) -> torch.Tensor:
        """Return values from 0 to 1."""
        return torch.rand(size, device=self.device, requires_grad=True)

    def features(self, *size: int) -> torch.Tensor:
        """Return features with the channels last in memory, like all feature maps of the network."""
        x = torch.randn(size, device=self.device).contiguous(memory_format=torch.channels_last_3d)
        return x.requires_grad_()

    def field(self) -> torch.Tensor:
        """Return a smooth displacement field in voxels of level 1."""
        coarse = 2 * torch.randn(1, 3, *(size // 16 for size in self.shape), device=self.device)
        field = nn.functional.interpolate(coarse, size=self.shape, mode="trilinear", align_corners=True)
        return field.requires_grad_()


def _operation(
    name: str,
    where: str,
    run: Callable[..., torch.Tensor],
    inputs: Sequence[torch.Tensor],
    operations: float,
    values: float,
    has_gradient: bool = True,
    backward_work: int = 2,
) -> Operation:
    """Make an operation that runs on inputs; other arguments are attributes of `Operation`."""
    return Operation(
        name, where, lambda: run(*inputs), inputs if has_gradient else (), operations, values, backward_work
    )


def _convolutions(inputs: _Inputs) -> Iterator[Operation]:
    """Yield the convolutions of the encoder, and the one that makes a field."""
    for level, inward, outward in ((1, 1, 4), (1, 4, 8), (1, 8, 8), (2, 16, 16), (3, 32, 32), (4, 64, 64)):
        size = inputs.at(level)
        yield _operation(
            "conv_norm_leaky_relu",
            f"level {level}, 2 x {inward} to {outward}",
            lambda x, weight: conv_norm_leaky_relu([x], weight, None),
            (inputs.features(2, inward, *size), inputs.normal(outward, inward, 3, 3, 3)),
            2 * 54 * inward * outward * prod(size),
            2 * (inward + outward) * prod(size),
        )
    voxels = prod(inputs.shape)
    yield _operation(
        "conv3d",
        "level 1, 8 to 3",
        conv3d,
        (inputs.features(1, 8, *inputs.shape), inputs.normal(3, 8, 3, 3, 3), inputs.normal(3)),
        54 * 24 * voxels,
        11 * voxels,
    )


def _adaptive_convolutions(inputs: _Inputs, num_clusters: int) -> Iterator[Operation]:
    """Yield the steps of the convolutions that adapt to clusters, and the comparison of their results."""
    for level, channels in ((2, 16), (3, 32), (4, 64)):
        size = inputs.at(level)
        voxels = prod(size)
        x = inputs.features(2, channels, *size)
        points = spatial_descriptor(x.detach())
        start = initial_centroids(points, num_clusters, seed=0)
        labels, _ = kmeans(points, start, max_iterations=1)
        where = f"level {level}, 2 x {channels}"
        yield _operation(
            "spatial_descriptor",
            where,
            lambda x: spatial_descriptor(x.detach()),
            (x,),
            2 * 27 * channels * voxels,
            4 * channels * voxels,
            has_gradient=False,
        )
        yield _operation(
            f"kmeans, {K_MEANS_ITERATIONS} iterations",
            where,
            lambda points, start: kmeans(points, start, K_MEANS_ITERATIONS)[0],
            (points, start),
            2 * K_MEANS_ITERATIONS * 4 * num_clusters * channels * voxels,
            2 * (K_MEANS_ITERATIONS * channels + 2) * voxels,
            has_gradient=False,
        )
        weight, taps = inputs.normal(channels, channels, 27), inputs.uniform(2, num_clusters, 27)
        bias, residual = inputs.normal(2, num_clusters, channels), inputs.features(2, channels, *size)
        yield _operation(
            "adaptive_residual_conv3d",
            where,
            lambda x, weight, taps, bias, residual, labels=labels: adaptive_residual_conv3d(
                x, weight, taps, bias, labels, residual
            ),
            (x, weight, taps, bias, residual),
            2 * 54 * channels * channels * voxels,
            2 * (3 * channels + 2) * voxels,
        )
        yield _operation(
            "match_similarity",
            f"level {level}, {channels}",
            match_similarity,
            (inputs.features(1, channels, *size), inputs.features(1, channels, *size)),
            54 * channels * voxels,
            (2 * channels + 3) * voxels,
        )


def _resampling(inputs: _Inputs) -> Iterator[Operation]:
    """Yield the operations that sample images and fields at other places."""
    shape, half = inputs.shape, inputs.at(2)
    voxels = prod(shape)
    field = inputs.field()
    yield _operation("warp", "level 1, 8", warp, (inputs.features(1, 8, *shape), field), 16 * 8 * voxels, 19 * voxels)
    yield _operation("compose", "level 1", compose, (inputs.normal(1, 3, *shape), field), 16 * 3 * voxels, 9 * voxels)
    yield _operation(
        "upsample_field",
        "level 2 to 1",
        upsample_field,
        (inputs.normal(1, 3, *half),),
        16 * 24 * prod(half),
        27 * prod(half),
        backward_work=1,
    )
    yield _operation(
        "halve",
        "level 1 to 2, 2 x 8",
        halve,
        (inputs.features(2, 8, *shape),),
        16 * voxels,
        18 * voxels,
        backward_work=1,
    )


def _losses(inputs: _Inputs) -> Iterator[Operation]:
    """Yield the terms of the loss."""
    voxels = prod(inputs.shape)
    fixed = inputs.uniform(1, 1, *inputs.shape).detach()
    yield _operation(
        "local_ncc",
        "level 1",
        lambda warped: local_ncc(warped, fixed),
        (inputs.uniform(1, 1, *inputs.shape),),
        60 * voxels,
        3 * voxels,
    )
    yield _operation("squared_differences", "level 1", squared_differences, (inputs.field(),), 27 * voxels, 3 * voxels)
