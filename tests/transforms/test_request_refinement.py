from __future__ import annotations

from typing import Any

import pytest
import torch

from sacb_bundle.engine import RefiningInferer
from sacb_bundle.errors import InputError
from sacb_bundle.networks import SACBNet
from sacb_bundle.registration.refine import Refinement
from sacb_bundle.transforms import RequestRefinementd


def prepared(request: dict[str, Any], *defaults: Any) -> dict:
    return RequestRefinementd(*defaults)({**request, "image": torch.rand(2, 16, 16, 16)})


@pytest.mark.parametrize(
    ("request_", "defaults", "expected"),
    [
        ({}, (0,), Refinement(0)),
        ({}, (5, "mi", 0.5), Refinement(5, "mi", 0.5)),
        ({"refine": 3}, (5, "mi", 0.5), Refinement(3, "mi", 0.5)),
        ({"refine": 3, "similarity": "mind", "smoothness": 2}, (0,), Refinement(3, "mind", 2)),
        ({"smoothness": None}, (5, "mi", 0.5), Refinement(5, "mi")),
        ({"refine": 0}, (5, "mi", 0.5), Refinement(0)),
    ],
)
def test_a_request_replaces_the_settings_of_the_config(request_: dict, defaults: tuple, expected: Refinement) -> None:
    assert prepared(request_, *defaults)["image"].meta["refinement"] == expected


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"refine": "50"}, "refine is '50'; it must be a whole number of steps from 0 to 1000"),
        ({"refine": 1001}, "refine is 1001"),
        ({"refine": 1, "similarity": ["mi"]}, r"similarity is \['mi'\]"),
        ({"similarity": "mi"}, "similarity and smoothness are settings of the refinement, which is off"),
    ],
)
def test_invalid_settings_are_refused(request_: dict, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        prepared(request_, 0)


def test_the_inferer_takes_the_settings_of_each_request() -> None:
    network, inferer = SACBNet(base_channels=2, num_clusters=2).eval(), RefiningInferer(16, 0)
    for request, steps, similarity in (
        ({"refine": 1, "similarity": "mi"}, 1, "mi"),
        ({"refine": 2, "similarity": "lncc"}, 2, "lncc"),
        ({}, 0, ""),
    ):
        # As MONAI Label calls it.
        (refined,) = inferer(prepared(request, 0)["image"][None].to("cpu"), network)
        assert (refined.steps, refined.similarity) == (steps, similarity)
