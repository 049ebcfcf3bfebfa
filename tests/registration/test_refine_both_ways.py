"""Refine pairs of two contrasts in both directions."""

from __future__ import annotations

import re

import pytest
import torch

from sacb_bundle.ops import warp
from sacb_bundle.registration.optimise import METHODS
from sacb_bundle.registration.refine import Refinement, Refiner

from .test_refine import SHAPE, Scripted, shift, shifted_pair


@pytest.mark.parametrize("similarity", ["mind", "mi"])
@pytest.mark.usefixtures("weights_alone")
def test_between_contrasts_the_fields_of_both_directions_are_averaged(similarity: str) -> None:
    # Each direction gets fields of its own: first the field, then that of the swapped pair.
    net = Scripted(shift(0.0), shift(2.4), shift(0.0), shift(-1.6))
    result = Refiner(net, Refinement(1, similarity, smoothness=1e-3))(shifted_pair(), shift(0.0)[0])
    assert result.used, result.reason
    inside = result.field[:, 4:-4]  # where the field of the swapped pair is known
    torch.testing.assert_close(inside, shift(2.0)[0, :, 4:-4])
    method = METHODS[similarity]
    moving, fixed = shifted_pair().split(1, dim=1)
    expected = method.scale * float(method.similarity(warp(moving, result.field[None]), fixed))
    assert result.facts["loss_after"] == pytest.approx(expected, abs=0.02)  # the smoothness costs little
    assert result.facts["loss_after"] < result.losses[1]  # the field of one direction is further off


@pytest.mark.usefixtures("weights_alone")
def test_directions_that_contradict_each_other_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    own = shift(0.0)[0]
    refine = Refiner(Scripted(shift(0.0), shift(2.0), shift(0.0), shift(-0.2)), Refinement(1, "mind", smoothness=1e-3))
    result = refine(shifted_pair(), own)
    assert torch.equal(result.field, own)
    assert re.fullmatch(
        r"the fields of both directions contradict each other \(a round trip is 9\d% of the way off\)", result.reason
    )
    assert result.reason in caplog.text


@pytest.mark.usefixtures("weights_alone")
def test_a_failure_of_the_other_direction_is_one_of_the_pair() -> None:
    net = Scripted(shift(0.0), shift(2.0), shift(-2.0), shift(1.0))
    result = Refiner(net, Refinement(1, "mind", smoothness=1e-3))(shifted_pair(), shift(0.0)[0])
    assert result.reason == "no step lowers the loss of the other direction"


@pytest.mark.usefixtures("weights_alone")
def test_directions_are_compared_within_the_masks() -> None:
    # Beyond the masks, the field of the swapped pair differs.
    backward = shift(-2.0)
    backward[:, :, :, :, 10:] = 0
    masks = torch.zeros(1, 2, *SHAPE)
    masks[..., :8] = 1
    for given, used in ((None, False), (masks, True)):
        net = Scripted(shift(0.0), shift(2.0), shift(0.0), backward)
        result = Refiner(net, Refinement(1, "mind", smoothness=1e-3))(shifted_pair(), shift(0.0)[0], given)
        assert result.used == used, result.reason
