from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.ops import conv3d, halve


@pytest.mark.parametrize("shape", [(3, 4, 8), (2, 3, 6), (4, 3, 5)])
@pytest.mark.parametrize("channels", [(1, 4), (4, 8), (8, 3), (3, 16), (2, 17)])
def test_convolution_equals_torch_with_gradients(shape: tuple[int, ...], channels: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    in_channels, out_channels = channels
    sizes = ((2, in_channels, *shape), (out_channels, in_channels, 3, 3, 3), (out_channels,))
    inputs = tuple(torch.randn(size, generator=generator, requires_grad=True) for size in sizes)
    actual, expected = conv3d(*inputs), F.conv3d(*inputs, padding=1)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    upstream = torch.randn(expected.shape, generator=generator)
    for gradient, reference in zip(
        torch.autograd.grad(actual, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        torch.testing.assert_close(gradient, reference, atol=1e-4, rtol=1e-4)


def test_convolution_keeps_the_channels_last() -> None:
    for channels in (1, 4):
        weight, bias = torch.zeros(8, channels, 3, 3, 3), torch.zeros(8)
        output = conv3d(torch.zeros(1, channels, 4, 4, 4), weight, bias)
        assert output.is_contiguous(memory_format=torch.channels_last_3d)


def test_halve_equals_average_pooling() -> None:
    x = torch.randn(2, 3, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    for layout in (x, x.contiguous(memory_format=torch.channels_last_3d)):
        torch.testing.assert_close(halve(layout), F.avg_pool3d(x, kernel_size=2))
