from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.errors import InputError
from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss


@pytest.mark.parametrize("window", [3, 9])
def test_ncc_equals_sums_by_convolution(window: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 1, 12, 10, 11, generator=generator) for _ in range(2))
    kernel = torch.ones(1, 1, window, window, window, dtype=torch.float64)

    def windowed(image: torch.Tensor) -> torch.Tensor:
        return F.conv3d(image.double(), kernel, padding=window // 2)

    count = window**3
    cross = windowed(first * second) - windowed(first) * windowed(second) / count
    variances = [windowed(image**2) - windowed(image) ** 2 / count for image in (first, second)]
    expected = -(cross**2 / (variances[0] * variances[1] + 1e-5)).mean()
    assert LocalNCCLoss(window)(first, second).item() == pytest.approx(expected.item(), abs=1e-5)


def test_ncc_of_an_image_with_its_scaled_self_is_minus_one() -> None:
    image = 10 * torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    assert LocalNCCLoss()(image, -2 * image).item() == pytest.approx(-1, abs=1e-3)


def test_ncc_of_flat_background_is_zero_with_zero_gradient() -> None:
    flat = torch.zeros(1, 1, 12, 12, 12, requires_grad=True)
    loss = LocalNCCLoss()(flat, torch.rand(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0)))
    loss.backward()
    assert loss.item() == 0
    assert flat.grad is not None
    assert flat.grad.abs().max() == 0


def test_smoothness_of_a_linear_field() -> None:
    field = torch.zeros(1, 3, 4, 5, 6)
    field[0, 0] = 2 * torch.arange(4.0).reshape(4, 1, 1)
    # Differences are 2 for one of three components along one of three axes, else 0.
    assert SmoothnessLoss()(field).item() == pytest.approx(4 / 9)


def test_registration_loss_is_the_weighted_sum() -> None:
    image = torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    field = torch.zeros(1, 3, 16, 16, 16)
    field[:, 2] = torch.linspace(0, 1, 16)
    losses = (RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), weight) for weight in (0.0, 2.0))
    without, with_weight = (loss(field, image) for loss in losses)
    assert (with_weight - without).item() == pytest.approx(2 * SmoothnessLoss()(field).item(), rel=1e-4)


@pytest.mark.parametrize("window", [1, 8])
def test_even_window_is_refused(window: int) -> None:
    with pytest.raises(InputError, match=f"window is {window}"):
        LocalNCCLoss(window)
