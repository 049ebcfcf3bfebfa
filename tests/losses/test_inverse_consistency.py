"""Losses of fields alone: inverse consistency by an independent implementation, and landmarks by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from sacb_bundle.losses import InverseConsistencyLoss, LandmarkLoss


def rand_fields(seed: int = 0) -> torch.Tensor:
    return 4 * torch.rand(4, 3, 7, 8, 6, generator=torch.Generator().manual_seed(seed)) - 2


def composed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The displacement of v + second(v), then first, by SciPy."""
    places = np.indices(second.shape[1:]) + second
    return np.stack([map_coordinates(component, places, order=1, mode="nearest") for component in first]) + second


def test_inverse_consistency_is_that_of_numpy_and_scipy() -> None:
    fields = rand_fields()
    first, second, first_back, second_back = fields.double().numpy()
    expected = []
    for there, back in ((first, first_back), (second, second_back), (first_back, first), (second_back, second)):
        jacobian = np.stack(np.gradient(composed(there, back) + np.indices(there.shape[1:]), axis=(1, 2, 3)), axis=1)
        difference = jacobian - np.eye(3).reshape(3, 3, 1, 1, 1)
        expected.append(np.square(difference).sum(axis=(0, 1)).mean())
    assert InverseConsistencyLoss()(fields).item() == pytest.approx(np.mean(expected), rel=1e-4)


def test_translations_that_do_not_cancel_are_consistent() -> None:
    fields = torch.ones(2, 3, 6, 6, 6)
    fields[1] = -0.3
    assert InverseConsistencyLoss()(fields).item() == pytest.approx(0, abs=1e-10)


def test_a_scaling_and_its_inverse_are_consistent() -> None:
    position = (torch.arange(9.0) - 4).reshape(9, 1, 1)
    fields = torch.zeros(2, 3, 9, 9, 9)
    fields[0, 0], fields[1, 0] = -0.5 * position, position
    one_way = InverseConsistencyLoss()(torch.cat([fields[:1], fields[:1]]))
    both_ways = InverseConsistencyLoss()(fields)
    assert one_way.item() == pytest.approx(0.75**2, rel=1e-4)  # half and half again
    assert both_ways < 0.7 * one_way  # what is left lies beyond the image, where the fields are constant


def test_gradient_of_inverse_consistency() -> None:
    fields = rand_fields().requires_grad_()
    loss = InverseConsistencyLoss()
    (gradient,) = torch.autograd.grad(loss(fields), fields)
    step = 1e-4 * rand_fields(seed=1)
    slope = (loss((fields + step).detach()).double() - loss((fields - step).detach()).double()) / 2
    assert (gradient * step).sum().item() == pytest.approx(slope.item(), rel=0.05)


def test_landmarks_by_hand() -> None:
    field = torch.zeros(2, 3, 6, 7, 8)
    field[0, 0] = torch.arange(6.0).reshape(6, 1, 1)  # twice as far along D
    field[1, 2] = -1
    field.requires_grad_()
    fixed = torch.tensor([[[1.5, 2, 3], [2, 2, 2]], [[0, 0, 1], [5, 6, 7.5]]])
    moving = torch.tensor([[[3.0, 2, 3], [4, 5, 6]], [[0, 0, 0], [5, 6, 4]]])
    # Distances 0; 5 (3 along H, 4 along W); 0; 2.5.
    loss = LandmarkLoss()(field, moving, fixed)
    assert loss.item() == pytest.approx(7.5 / 4, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, field)
    # The unit vector from the landmark to where the field takes it, over the number of landmarks.
    torch.testing.assert_close(gradient[0, :, 2, 2, 2], torch.tensor([0, -3 / 5, -4 / 5]) / 4)
    torch.testing.assert_close(gradient[1, :, 5, 6, 7], torch.tensor([0, 0, 1.0]) / 4)
    assert gradient.isfinite().all()
