"""Losses beyond those of the paper, against MONAI's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import BendingEnergyLoss as MonaiBendingEnergyLoss
from monai.losses import GlobalMutualInformationLoss

from sacb_bundle.data import phantom_images
from sacb_bundle.errors import InputError
from sacb_bundle.losses import (
    BendingEnergyLoss,
    FoldingLoss,
    MutualInformationLoss,
    SelfSimilarityLoss,
)
from sacb_bundle.metrics import jacobian_determinant


def phantoms() -> tuple[torch.Tensor, torch.Tensor]:
    fixed, moving = (
        torch.from_numpy(image.values.astype(np.float32) / 255)[None, None] for image in phantom_images((24, 24, 24))
    )
    return fixed, moving


def smooth_field(seed: int = 0, size: int = 20) -> torch.Tensor:
    """A field of a few low frequencies (1, 3, D, H, W) fp64, up to two voxels long."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.stack(torch.meshgrid(*[torch.linspace(0, 1, size, dtype=torch.float64)] * 3, indexing="ij"))
    field = torch.zeros(3, size, size, size, dtype=torch.float64)
    for _ in range(4):
        direction, phase = torch.rand(3, 3, generator=generator) * 3, torch.rand(3, generator=generator) * 6
        field += torch.sin(
            torch.einsum("ij,jdhw->idhw", direction.double(), places) + phase.double()[:, None, None, None]
        )
    return field[None] / 2


def test_mutual_information_is_that_of_monai() -> None:
    fixed, moving = phantoms()
    expected = GlobalMutualInformationLoss(kernel_type="gaussian", num_bins=32, sigma_ratio=0.5)(moving, fixed)
    assert MutualInformationLoss(32)(moving, fixed).item() == pytest.approx(expected.item(), rel=1e-3)


def test_mutual_information_of_independent_images_is_none() -> None:
    first, second = torch.rand(2, 1, 1, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    loss = MutualInformationLoss(16)
    assert loss(first, second).item() == pytest.approx(0, abs=0.01)
    # Half of the bins each: log 2.
    halves = (first > 0.5).float()
    assert loss(halves, 1 - halves).item() == pytest.approx(-np.log(2), abs=0.01)


@pytest.mark.parametrize("loss", [MutualInformationLoss(), SelfSimilarityLoss()])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_shift_raises_the_loss_whatever_the_contrast(loss: torch.nn.Module, inverted: bool) -> None:
    fixed, _ = phantoms()
    image = 1 - fixed if inverted else fixed
    losses = [loss(image.roll(shift, dims=2), fixed).item() for shift in range(3)]
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize(("loss", "length"), [(MutualInformationLoss(8), 1e-3), (SelfSimilarityLoss(), 1e-6)])
def test_gradients_of_similarities(loss: torch.nn.Module, length: float) -> None:
    warped, fixed = torch.rand(2, 1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    warped = warped.clone()
    warped.requires_grad_()
    loss(warped, fixed).backward()
    assert warped.grad is not None
    step = length * (torch.rand(warped.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.5)
    with torch.no_grad():
        slope = (loss(warped + step, fixed) - loss(warped - step, fixed)) / 2
    assert (warped.grad * step).sum().item() == pytest.approx(slope.item(), rel=0.05)


def test_bending_energy_is_that_of_monai_for_a_smooth_field() -> None:
    field = smooth_field(size=80)
    # MONAI takes differences of voxels twice as far apart, and leaves out a border of two voxels.
    expected = MonaiBendingEnergyLoss()(field)
    assert BendingEnergyLoss()(field[..., 1:-1, 1:-1, 1:-1]).item() == pytest.approx(expected.item(), rel=0.01)


def test_bending_energy_by_hand() -> None:
    d, h, _ = torch.meshgrid(*[torch.arange(6.0)] * 3, indexing="ij")
    field = torch.zeros(1, 3, 6, 6, 6)
    field[0, 0] = 3 * d + h
    assert BendingEnergyLoss()(field).item() == 0
    field[0, 1] = d * h  # only the mixed derivative, 1, counted twice
    assert BendingEnergyLoss()(field).item() == pytest.approx(2 / 3)


def test_folds_are_what_the_determinant_lies_below_0() -> None:
    field = 24 * smooth_field()
    determinant = jacobian_determinant(field[0])
    assert 0 < (determinant < 0).double().mean() < 0.5
    assert FoldingLoss()(field).item() == pytest.approx((-determinant).clamp(min=0).mean().item(), rel=1e-4)
    assert FoldingLoss()(0.1 * smooth_field()).item() == 0
    assert FoldingLoss(2.0)(0 * field).item() == 1


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(InputError, match="num_bins is 1; it must be at least 2"):
        MutualInformationLoss(1)
