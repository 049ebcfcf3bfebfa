from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.ops import adaptive_residual_conv3d
from sacb_bundle.ops.neighbourhood import neighbours


def by_definition(x, weight, tap_weights, bias, residual, labels):
    """Apply each voxel's own kernel to its patch, then a leaky ReLU, and add the residual."""
    patches = torch.stack([patch.flatten(2) for patch in neighbours(x)], dim=-1)
    output = torch.zeros(x.shape[0], weight.shape[0], labels.shape[1], dtype=x.dtype)
    for item in range(x.shape[0]):
        for voxel in range(labels.shape[1]):
            cluster = labels[item, voxel]
            kernel = weight * tap_weights[item, cluster]
            output[item, :, voxel] = torch.einsum("oik,ik->o", kernel, patches[item, :, voxel]) + bias[item, cluster]
    return F.leaky_relu(output.reshape(residual.shape), 0.1) + residual


@pytest.mark.parametrize(
    ("batch", "channels", "num_clusters", "shape"),
    [(1, 2, 2, (3, 4, 5)), (2, 4, 3, (2, 5, 3)), (2, 3, 11, (3, 3, 3))],
)
def test_equals_its_definition_with_gradients(batch, channels, num_clusters, shape) -> None:
    generator = torch.Generator().manual_seed(0)
    # In fp64, no rounding chooses the side of the gradient's step at zero.
    options = {"generator": generator, "dtype": torch.float64, "requires_grad": True}
    x = torch.randn(batch, channels, *shape, **options)
    weight = torch.randn(channels, channels, 27, **options)
    tap_weights = torch.rand(batch, num_clusters, 27, **options)
    bias = torch.randn(batch, num_clusters, channels, **options)
    labels = torch.randint(num_clusters, (batch, x[0, 0].numel()), generator=generator)
    residual = torch.randn(x.shape, **options)
    inputs = (x, weight, tap_weights, bias, residual)
    actual = adaptive_residual_conv3d(x, weight, tap_weights, bias, labels, residual)
    expected = by_definition(*inputs, labels)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    upstream = torch.randn(actual.shape, generator=generator, dtype=torch.float64)
    for gradient, reference in zip(
        torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(gradient, reference, atol=1e-4, rtol=1e-4)


def test_one_cluster_with_full_taps_is_a_plain_convolution() -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight, residual = (
        torch.randn(size, generator=generator) for size in ((1, 2, 4, 4, 4), (3, 2, 27), (1, 3, 4, 4, 4))
    )
    labels = torch.zeros(1, 64, dtype=torch.int64)
    actual = adaptive_residual_conv3d(x, weight, torch.ones(1, 1, 27), torch.zeros(1, 1, 3), labels, residual)
    expected = F.leaky_relu(F.conv3d(x, weight.reshape(3, 2, 3, 3, 3), padding=1), 0.1) + residual
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cached_values", [1, 400, 2**22])
def test_without_gradients_gives_the_same_values(monkeypatch: pytest.MonkeyPatch, cached_values: int) -> None:
    monkeypatch.setattr("sacb_bundle.ops.adaptive_conv.CACHED_VALUES", cached_values)
    generator = torch.Generator().manual_seed(0)
    x, weight, tap_weights, bias, residual = (
        torch.randn(size, generator=generator)
        for size in ((2, 3, 3, 5, 4), (2, 3, 27), (2, 6, 27), (2, 6, 2), (2, 2, 3, 5, 4))
    )
    labels = torch.randint(6, (2, 60), generator=generator)
    expected = by_definition(x, weight, tap_weights, bias, residual, labels)
    channels_last = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        for layout in (x, channels_last):
            actual = adaptive_residual_conv3d(layout, weight, tap_weights, bias, labels, residual)
            torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
