"""Outside a mask, nothing is compared."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sacb_bundle.losses import (
    LocalNCCLoss,
    MutualInformationLoss,
    RegistrationLoss,
    SelfSimilarityLoss,
    SmoothnessLoss,
)
from sacb_bundle.ops import local_ncc

LOSSES = [LocalNCCLoss(5), SelfSimilarityLoss(), MutualInformationLoss(16)]


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def mask() -> torch.Tensor:
    shown = torch.zeros(1, 1, 20, 20, 20)
    shown[..., 6:14, 6:14, 6:14] = 1
    return shown


@pytest.mark.parametrize("loss", LOSSES)
def test_a_change_beyond_reach_changes_nothing(loss: nn.Module) -> None:
    warped, fixed = rand(1, 1, 20, 20, 20), rand(1, 1, 20, 20, 20, seed=1)
    other = warped.clone()
    other[..., :2] = 0.5
    assert loss(other, fixed, mask()).item() == pytest.approx(loss(warped, fixed, mask()).item(), rel=1e-6)
    other[..., 8:10] = 0.5
    assert loss(other, fixed, mask()).item() != pytest.approx(loss(warped, fixed, mask()).item(), rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_mask_of_ones_is_no_mask(loss: nn.Module) -> None:
    warped, fixed = rand(2, 1, 12, 12, 12), rand(2, 1, 12, 12, 12, seed=1)
    assert loss(warped, fixed, torch.ones_like(fixed)).item() == pytest.approx(loss(warped, fixed).item(), rel=1e-5)


def test_ncc_is_the_mean_within_the_mask() -> None:
    warped, fixed = rand(1, 1, 20, 20, 20), rand(1, 1, 20, 20, 20, seed=1)
    expected = -local_ncc(warped, fixed, 5)[mask() > 0].mean().item()
    assert LocalNCCLoss(5)(warped, fixed, mask()).item() == pytest.approx(expected, rel=1e-5)


def test_mutual_information_is_that_of_the_voxels_within_the_mask() -> None:
    warped, fixed = rand(1, 1, 20, 20, 20), rand(1, 1, 20, 20, 20, seed=1)
    inside = [image[mask() > 0].reshape(1, 1, 8, 8, 8) for image in (warped, fixed)]
    loss = MutualInformationLoss(16)
    assert loss(warped, fixed, mask()).item() == pytest.approx(loss(*inside).item(), rel=1e-4)


def test_the_mask_of_the_moving_image_is_warped_without_a_gradient() -> None:
    image = rand(1, 2, 20, 20, 20)
    masks = torch.cat([mask(), torch.ones_like(mask())], dim=1)
    field = torch.zeros(1, 3, 20, 20, 20)
    field[:, 0] = 2  # the mask moves by two voxels against the axis
    field.requires_grad_()
    loss = RegistrationLoss(LocalNCCLoss(5), SmoothnessLoss(), 0.0)
    found = loss(field, image, masks)
    warped = image[:, :1].roll(-2, dims=2)
    moved = mask().roll(-2, dims=2)
    assert found.item() == pytest.approx(LocalNCCLoss(5)(warped, image[:, 1:], moved).item(), rel=1e-3)
    found.backward()
    assert field.grad is not None
    assert field.grad[..., :2].abs().max() == 0
    assert field.grad.abs().max() > 0
