from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.ops import channel_descriptor, instance_norm_leaky_relu, spatial_descriptor


@pytest.mark.parametrize("shape", [(1, 1, 4, 4, 4), (2, 3, 3, 5, 7)])
def test_instance_norm_equals_torch(shape: tuple[int, ...]) -> None:
    x = (5 + 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    actual, expected = instance_norm_leaky_relu(x), F.leaky_relu(F.instance_norm(x), 0.1)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    # The gradient has a step at zero, whose side rounding would choose.
    decided = expected.abs() > 1e-3
    assert decided.float().mean() > 0.9
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1)) * decided
    torch.testing.assert_close(
        *(torch.autograd.grad(output, x, upstream)[0] for output in (actual, expected)), atol=1e-5, rtol=1e-4
    )


def test_instance_norm_of_a_constant_is_zero() -> None:
    assert instance_norm_leaky_relu(torch.full((1, 2, 4, 4, 4), 7.0)).abs().max() == 0


def test_instance_norm_withstands_a_large_mean() -> None:
    x = 1000 + torch.randn(2, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = F.leaky_relu(F.instance_norm(x.double()), 0.1).float()
    torch.testing.assert_close(instance_norm_leaky_relu(x), expected, atol=1e-3, rtol=1e-3)


def test_instance_norm_leaves_its_input_alone_and_stays_in_fp32_under_autocast() -> None:
    x = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    before = x.clone()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        actual = instance_norm_leaky_relu(x)
    assert torch.equal(x, before)
    assert torch.equal(actual, instance_norm_leaky_relu(x))


def test_descriptors_are_means_over_the_zero_padded_patch() -> None:
    x = torch.randn(2, 3, 2, 4, 3, generator=torch.Generator().manual_seed(0))
    padded = F.pad(x, (1,) * 6)
    spatial = spatial_descriptor(x).reshape(2, 2, 4, 3, 3)
    channel = channel_descriptor(x).reshape(2, 2, 4, 3, 27)
    averages = F.avg_pool3d(padded, kernel_size=3, stride=1).movedim(1, -1)
    torch.testing.assert_close(spatial, averages, atol=1e-6, rtol=1e-5)
    patch = padded[1, :, 1:4, 3:6, 2:5]
    torch.testing.assert_close(spatial[1, 1, 3, 2], patch.mean(dim=(1, 2, 3)), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(channel[1, 1, 3, 2], patch.mean(dim=0).flatten(), atol=1e-6, rtol=1e-5)
