"""Compare values and gradients of every fused kernel with the plain operation, interpreted without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.ops import (
    adaptive_residual_conv3d,
    compose,
    conv3d,
    conv_norm_leaky_relu,
    fused_kernels,
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
from sacb_bundle.ops.fused import HAS_TRITON, runs_fused
from tests.ops.clusters import least_margin

pytestmark = pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter multiplies matrices with NumPy, which lacks bf16.
HALVES = (torch.float16, torch.bfloat16) if torch.cuda.is_available() else (torch.float16,)
# Odd sizes, and more than the tiles of one program along every axis.
SHAPE = (3, 6, 25)


@pytest.fixture(autouse=True)
def _as_on_a_gpu_in_full_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from sacb_bundle.ops.triton import tiles

    monkeypatch.setattr(tiles, "LEAST_BLOCK", 1)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False), fused_kernels(True):
        yield


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def assert_same(
    operation: Callable[..., torch.Tensor],
    *inputs: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    border: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> None:
    """Check that values and gradients agree with the plain fp32 operation within the rounding of the dtype.

    Rounding chooses the side of a step of the gradient. `border` gives, from the plain output, the distance of each
    voxel from such a step; voxels too near to one have no part in the gradients.
    """
    assert runs_fused(inputs[0])
    tolerance, margin = (2e-5, 1e-3) if dtype == torch.float32 else (2e-2, 5e-3)
    rounded = [value.to(dtype) for value in inputs]
    with torch.no_grad(), fused_kernels(False):
        plain = operation(*(value.float() for value in rounded))
    upstream = random(*plain.shape, seed=1)
    if border is not None:
        decided = border(plain) > margin
        assert decided.float().mean() > 0.9
        upstream = upstream * decided
    results = []
    for fused in (True, False):
        given = [(value if fused else value.float()).clone().requires_grad_() for value in rounded]
        with fused_kernels(fused):
            output = operation(*given)
            gradients = torch.autograd.grad(output, given, upstream.to(dtype).to(output.dtype), materialize_grads=True)
        results.append((output, *gradients))
    for number, (actual, expected) in enumerate(zip(*results, strict=True)):
        scale = max(expected.abs().max().item(), 1e-3)
        error = (actual.float() - expected.float()).abs().max().item() / scale
        assert error < tolerance, f"{'value' if number == 0 else f'gradient {number - 1}'} is off by {error:.1e}"


# Input channels, output channels, batch size, shape.
CONVOLUTIONS = [
    (1, 4, 1, (5, 6, 7)),
    (2, 3, 2, SHAPE),
    (8, 8, 1, (9, 4, 40)),
    (5, 16, 2, SHAPE),
    (16, 32, 1, SHAPE),
    (64, 11, 1, (2, 3, 3)),
]


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_conv3d(dtype) -> None:
    assert_same(conv3d, random(2, 8, *SHAPE), 0.2 * random(3, 8, 3, 3, 3), random(3), dtype=dtype)


@pytest.mark.parametrize(("in_channels", "out_channels", "batch", "shape"), CONVOLUTIONS)
def test_conv_norm_leaky_relu(in_channels, out_channels, batch, shape) -> None:
    def operation(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv_norm_leaky_relu([x], weight, None)

    x, weight = random(batch, in_channels, *shape), 0.2 * random(out_channels, in_channels, 3, 3, 3)
    assert_same(operation, x, weight, border=torch.abs)


@pytest.mark.parametrize("dtype", HALVES)
def test_conv_norm_leaky_relu_in_half_precision(dtype) -> None:
    def operation(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv_norm_leaky_relu([x], weight, None)

    assert_same(operation, random(2, 4, *SHAPE), 0.2 * random(8, 4, 3, 3, 3), dtype=dtype, border=torch.abs)


def test_conv_norm_leaky_relu_of_two_inputs() -> None:
    def operation(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return conv_norm_leaky_relu([first, second], weight, None)

    inputs = random(2, 4, *SHAPE), random(2, 3, *SHAPE, seed=2), 0.2 * random(5, 7, 3, 3, 3)
    assert_same(operation, *inputs, border=torch.abs)


def test_conv_norm_leaky_relu_far_from_zero() -> None:
    def operation(x: torch.Tensor) -> torch.Tensor:
        return conv_norm_leaky_relu([x], torch.ones(1, 1, 3, 3, 3, device=DEVICE), None)

    image = 1000 + random(1, 1, 6, 7, 40)
    sums = F.conv3d(image.double(), torch.ones(1, 1, 3, 3, 3, device=DEVICE, dtype=torch.float64), padding=1)
    expected = F.leaky_relu(F.instance_norm(sums), 0.1)
    torch.testing.assert_close(operation(image), expected.float(), atol=1e-5, rtol=0)


def test_the_bias_before_a_normalisation_has_no_gradient() -> None:
    bias = random(3).requires_grad_()
    conv_norm_leaky_relu([random(1, 2, *SHAPE)], random(3, 2, 3, 3, 3), bias).square().sum().backward()
    assert bias.grad is not None
    assert not bias.grad.any()


@pytest.mark.parametrize(
    ("channels", "batch", "num_clusters", "shape", "dtype"),
    [
        (2, 2, 2, (3, 5, 7), torch.float32),
        (7, 1, 11, (3, 5, 7), torch.float32),
        (16, 2, 7, (3, 5, 7), torch.float32),
        *[(16, 1, 7, (3, 5, 7), half) for half in HALVES],
        (64, 1, 3, (2, 3, 3), torch.float32),
    ],
)
def test_adaptive_residual_conv3d(channels, batch, num_clusters, shape, dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    num_voxels = shape[0] * shape[1] * shape[2]
    # Cluster 1 has no voxels.
    labels = torch.randint(num_clusters, (batch, num_voxels), generator=generator).to(DEVICE)
    if num_clusters > 2:
        labels[labels == 1] = 0

    inputs = [
        random(batch, channels, *shape),
        0.2 * random(channels, channels, 27),
        random(batch, num_clusters, 27).sigmoid(),
        random(batch, num_clusters, channels),
        random(batch, channels, *shape, seed=2),
    ]
    if dtype != torch.float32:  # rounding must not change the sign of the leaky ReLU's input
        inputs[0], inputs[1] = inputs[0].abs(), inputs[1].abs() * random(channels, 1, 1, seed=4).sign()
        inputs[3] = torch.zeros_like(inputs[3])

    def operation(x, weight, tap_weights, bias, residual) -> torch.Tensor:
        return adaptive_residual_conv3d(x, weight, tap_weights, bias, labels, residual)

    residual = inputs[-1].to(dtype).float()
    assert_same(operation, *inputs, dtype=dtype, border=lambda output: (output - residual).abs())
    with torch.no_grad():  # another kernel, which saves nothing
        values = [operation(*(value.to(dtype) for value in inputs))]
        with fused_kernels(False):
            values.append(operation(*(value.to(dtype).float() for value in inputs)))
    tolerance = 2e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(values[0].float(), values[1], rtol=0, atol=tolerance * values[1].abs().max().item())


def test_adaptive_residual_conv3d_adds_a_residual_of_another_type() -> None:
    labels = torch.zeros(1, 105, dtype=torch.int64, device=DEVICE)
    inputs = [random(1, 4, 3, 5, 7), random(4, 4, 27), torch.ones(1, 1, 27, device=DEVICE), random(1, 1, 4)]
    residual = random(1, 4, 3, 5, 7, seed=2)
    for fused in (True, False):
        with fused_kernels(fused):
            result = adaptive_residual_conv3d(*inputs, labels, residual.half())
            assert result.dtype == torch.float32
            result.sub_(residual.half())
            torch.testing.assert_close(
                result, adaptive_residual_conv3d(*inputs, labels, torch.zeros_like(residual)), atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize(
    ("channels", "dtype"),
    [(2, torch.float32), (4, torch.float32), (11, torch.float32), (64, torch.float32), *[(8, half) for half in HALVES]],
)
def test_match_similarity(channels, dtype) -> None:
    scale = channels**-0.25
    assert_same(
        match_similarity, scale * random(2, channels, *SHAPE), scale * random(2, channels, *SHAPE, seed=2), dtype=dtype
    )


def off_centres(field: torch.Tensor) -> torch.Tensor:
    """How far a field (B, 3, D, H, W) points from the kinks of linear interpolation, along the nearest axis."""
    return (field - field.round()).abs().amin(dim=1, keepdim=True)


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_warp(channels, layout) -> None:
    def operation(image: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        return warp(image.contiguous(memory_format=layout), field)

    field = 2 * random(2, 3, *SHAPE, seed=2)
    assert_same(operation, random(2, channels, *SHAPE), field, border=lambda _: off_centres(field))


@pytest.mark.parametrize("dtype", HALVES)
def test_warp_in_half_precision(dtype) -> None:
    def operation(image: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
        return warp(image, field.float())

    field = 0.5 * random(2, 3, *SHAPE, seed=2)
    rounded = field.to(dtype).float()
    assert_same(operation, random(2, 3, *SHAPE), field, dtype=dtype, border=lambda _: off_centres(rounded))


def test_warp_of_a_bf16_image_keeps_fp32_coordinates() -> None:
    field = torch.full((1, 3, 2, 2, 300), 0.0, device=DEVICE)
    field[:, 2] = 0.25
    image = torch.arange(300.0, device=DEVICE).remainder(2).expand(1, 1, 2, 2, 300)
    warped = warp(image.bfloat16(), field)
    torch.testing.assert_close(warped[..., :299].float(), 0.25 + 0.5 * image[..., :299])


def test_compose() -> None:
    second = random(2, 3, *SHAPE, seed=2)
    assert_same(compose, random(2, 3, *SHAPE), second, border=lambda _: off_centres(second))
    assert compose(random(1, 3, *SHAPE).half(), random(1, 3, *SHAPE)).dtype == torch.float32


def test_many_voxels_that_sample_the_same_one() -> None:
    image, field = random(1, 2, 4, 4, 40).requires_grad_(), torch.zeros(1, 3, 4, 4, 40, device=DEVICE)
    field[:, 2] = -torch.arange(40.0, device=DEVICE)  # every voxel samples the first of its row
    upstream = random(1, 2, 4, 4, 40, seed=1)
    gradients = [torch.autograd.grad(warp(image, field), image, upstream)[0] for _ in range(3)]
    with fused_kernels(False):
        expected = torch.autograd.grad(warp(image, field), image, upstream)[0]
    torch.testing.assert_close(gradients[0], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


def test_small_gradients_of_one_item_beside_large_ones_of_another() -> None:
    image, field = random(2, 1, *SHAPE).requires_grad_(), random(2, 3, *SHAPE, seed=2)
    upstream = random(2, 1, *SHAPE, seed=1) * torch.tensor([1.0, 1e-12], device=DEVICE).reshape(2, 1, 1, 1, 1)
    actual = torch.autograd.grad(warp(image, field), image, upstream)[0]
    with fused_kernels(False):
        expected = torch.autograd.grad(warp(image, field), image, upstream)[0]
    torch.testing.assert_close(actual[1], expected[1], atol=1e-18, rtol=1e-4)
    assert not torch.autograd.grad(warp(image, field), image, torch.zeros_like(image))[0].any()


def test_warp_by_a_field_that_is_not_finite_gives_zeros() -> None:
    field = torch.zeros(1, 3, *SHAPE, device=DEVICE)
    field[0, 1, 0, 0, 0], field[0, 2, 0, 0, 1] = float("nan"), float("inf")
    warped = warp(torch.ones(1, 1, *SHAPE, device=DEVICE), field)
    assert warped.flatten()[:3].tolist() == [0, 0, 1]


@pytest.mark.parametrize("shape", [(2, 4, 6), (1, 2, 3), (5, 6, 11)])
def test_upsample_field(shape) -> None:
    assert_same(upsample_field, random(2, 3, *shape))


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_halve(dtype) -> None:
    assert_same(halve, random(2, 5, 4, 6, 26), dtype=dtype)


@pytest.mark.parametrize("shape", [SHAPE, (1, 9, 7)])
def test_squared_differences(shape) -> None:
    assert_same(squared_differences, random(2, 3, *shape))


@pytest.mark.parametrize(("window", "shape"), [(9, (12, 11, 10)), (3, (5, 6, 7))])
def test_local_ncc(window, shape) -> None:
    def operation(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return local_ncc(first, second, window, eps=1e-2)

    assert_same(operation, random(2, 1, *shape).sigmoid(), random(2, 1, *shape, seed=2).sigmoid())


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
@pytest.mark.parametrize("channels", [2, 5, 16])
def test_spatial_descriptor(channels, dtype) -> None:
    x = random(2, channels, *SHAPE).to(dtype)
    actual = spatial_descriptor(x)
    with fused_kernels(False):
        torch.testing.assert_close(actual, spatial_descriptor(x.float()))


def test_spatial_descriptor_with_a_gradient_is_the_plain_one() -> None:
    x = random(1, 2, *SHAPE).requires_grad_()
    spatial_descriptor(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize(
    ("batch", "features", "num_clusters"), [(2, 2, 2), (1, 16, 7), (2, 27, 11), (1, 91, 3), (1, 5, 20)]
)
def test_kmeans(batch, features, num_clusters) -> None:
    points = random(batch, 500, features, seed=169)  # of which none lies on the border of two clusters
    start = initial_centroids(points, num_clusters, seed=0)
    if num_clusters > 2:
        start[:, 1] = 100  # far from all points: an empty cluster
    assert least_margin(points, start, max_iterations=3) > 1e-3
    labels, centroids = kmeans(points, start, max_iterations=3)
    with fused_kernels(False):
        expected_labels, expected_centroids = kmeans(points, start, max_iterations=3)
    assert torch.equal(labels, expected_labels)
    torch.testing.assert_close(centroids, expected_centroids, atol=1e-4, rtol=1e-4)
    assert torch.equal(centroids[:, 1], start[:, 1]) == (num_clusters > 2)


def test_kmeans_gives_a_tie_to_the_lowest_index() -> None:
    points = torch.tensor([[[0.0], [2.0], [1.0]]], device=DEVICE)
    centroids = torch.tensor([[[5.0], [0.0], [2.0], [0.0]]], device=DEVICE)
    assert kmeans(points, centroids, max_iterations=1)[0].tolist() == [[1, 2, 1]]


def test_kmeans_gives_every_point_a_cluster() -> None:
    points = random(1, 40, 4)
    points[0, 3], points[0, 5, 1] = float("nan"), float("inf")
    labels, _ = kmeans(points, initial_centroids(points, 7, seed=0), max_iterations=2)
    assert labels.max() < 7


def test_bias_that_is_not_contiguous() -> None:
    x, weight, bias = random(1, 2, *SHAPE), random(3, 2, 3, 3, 3), random(6)[::2]
    actual = conv3d(x, weight, bias)
    with fused_kernels(False):
        torch.testing.assert_close(actual, conv3d(x, weight, bias), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_shapes_that_do_not_fit_are_refused(fused: bool) -> None:
    calls: list[Callable[[], object]] = [
        lambda: conv3d(random(1, 2, *SHAPE), random(3, 4, 3, 3, 3), None),
        lambda: conv_norm_leaky_relu([random(1, 2, *SHAPE)], random(3, 2, 3, 3), None),
        lambda: conv_norm_leaky_relu([random(1, 2, *SHAPE)], random(3, 2, 3, 3, 3), None, negative_slope=0),
        lambda: adaptive_residual_conv3d(
            random(1, 2, *SHAPE),
            random(2, 2, 27),
            random(1, 3, 27),
            random(1, 3, 2),
            torch.zeros(1, 7, dtype=torch.int64, device=DEVICE),
            random(1, 2, *SHAPE),
        ),
        lambda: adaptive_residual_conv3d(
            random(2, 2, 3, 5, 7),
            random(2, 2, 27),
            random(1, 3, 27),
            random(2, 3, 2),
            torch.zeros(2, 105, dtype=torch.int64, device=DEVICE),
            random(2, 2, 3, 5, 7),
        ),
        lambda: match_similarity(random(1, 2, *SHAPE), random(1, 3, *SHAPE)),
        lambda: warp(random(2, 1, *SHAPE), random(1, 3, *SHAPE)),
        lambda: compose(random(1, 3, *SHAPE), random(1, 3, 3, 6, 24)),
        lambda: halve(random(1, 2, 3, 4, 4)),
        lambda: local_ncc(random(1, 1, 8, 8, 8), random(1, 1, 4, 4, 4)),
    ]
    for call in calls:
        with fused_kernels(fused), pytest.raises(ValueError, match=r"\d"):
            call()


def test_switch() -> None:
    x = random(1, 1, 4, 4, 4)
    assert runs_fused(x)
    with fused_kernels(False):
        assert not runs_fused(x)
    assert runs_fused(x)
    assert not runs_fused(x.double())
