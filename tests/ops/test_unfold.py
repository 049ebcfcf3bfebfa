from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import sacb_bundle.ops.unfold as unfold
from sacb_bundle.errors import InputError
from sacb_bundle.metrics import folding_percentage, non_diffeomorphic_volume
from sacb_bundle.ops import unfolded


def rough(seed: int, amplitude: float, size: int = 10) -> torch.Tensor:
    """Return a field whose voxels at every other place are random, in voxels."""
    coarse = torch.randn(1, 3, size, size, size, generator=torch.Generator().manual_seed(seed))
    return amplitude * F.interpolate(coarse, scale_factor=2, mode="trilinear", align_corners=True)[0]


@pytest.mark.parametrize("amplitude", [0.6, 1.0])
def test_nothing_folds_and_little_moves(amplitude: float) -> None:
    field = rough(0, amplitude)
    assert non_diffeomorphic_volume(field) > 0
    result = unfolded(field)
    assert non_diffeomorphic_volume(result) == 0
    assert folding_percentage(result) == 0
    assert (result - field).norm(dim=0).mean() < 0.1 * field.norm(dim=0).mean()


def test_a_field_without_folds_stays_as_it_is() -> None:
    field = rough(1, 0.1)
    assert non_diffeomorphic_volume(field) == 0
    assert torch.equal(unfolded(field), field)


def test_only_the_surroundings_of_a_fold_move() -> None:
    field = rough(2, 0.1)
    field[:, 10, 10, 10] += torch.tensor([2.0, 0, 0])
    moved = (unfolded(field) != field).any(dim=0).nonzero()
    assert len(moved) > 0
    assert (moved - 10).abs().max() <= 3


@pytest.mark.parametrize("rounds", [1, 40])
def test_a_hopeless_field_is_smoothed(monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    monkeypatch.setattr(unfold, "_ROUNDS", rounds)
    field = 4 * torch.randn(3, 8, 9, 7, generator=torch.Generator().manual_seed(3))
    assert non_diffeomorphic_volume(unfolded(field)) == 0


def test_limits_follow_the_scale() -> None:
    index = torch.stack(torch.meshgrid(*(torch.arange(12.0),) * 3, indexing="ij"))
    shrunk = 0.1 * (index + rough(4, 0.1, 6)) - index  # the determinant is 0.001
    assert torch.equal(unfolded(shrunk, 0.001), shrunk)
    folded = 0.1 * (index + rough(4, 0.6, 6)) - index
    result = unfolded(folded, 0.001)
    assert non_diffeomorphic_volume(folded) > 0
    assert non_diffeomorphic_volume(result) == 0
    assert (result - folded).norm(dim=0).mean() < 0.01


def test_a_single_plane_stays_as_it_is() -> None:
    field = torch.randn(3, 5, 1, 5, generator=torch.Generator().manual_seed(6))
    assert torch.equal(unfolded(field), field)


def test_one_input_gives_the_same_bytes() -> None:
    field = rough(5, 1.5)
    assert torch.equal(unfolded(field), unfolded(field.clone()))


def test_folds_that_cannot_be_removed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfold, "_MOST_ROUNDS", 3)
    with pytest.raises(InputError, match="its folds cannot be removed"):
        unfolded(rough(7, 4.0))
