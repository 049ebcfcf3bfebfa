"""Pairs on their working grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sacb_bundle.data import phantom_images
from sacb_bundle.errors import InputError
from sacb_bundle.registration.pair import Pair
from sacb_bundle.registration.prepare import Settings, prepare
from sacb_bundle.spatial import Grid, Volume, body_of

FIXED, MOVING = phantom_images((64, 80, 64), amplitude=0.7)
BODY_MM = body_of(FIXED).size


def scaled(factor: float) -> Pair:
    """Make the phantom of another size, with voxels larger by a factor."""
    grid = Grid(FIXED.grid.shape, np.diag([factor, factor, factor, 1.0]) @ FIXED.grid.affine)
    return Pair(*(Volume(image.values, grid) for image in (FIXED, MOVING)))


def spacing_of(pair: Pair, **settings: Any) -> float:
    """Return the spacing of the working grid of an aligned pair."""
    usual = {"trained_spacing_mm": 2.0, "trained_body_mm": (BODY_MM, BODY_MM), "size_divisor": 16, "initial": "none"}
    prepared = prepare(pair, Settings(**usual | settings))
    assert len(set(np.round(prepared.grid.spacing, 6))) == 1
    return float(prepared.grid.spacing[0])


def test_the_spacing_of_the_training_is_kept_for_usual_sizes() -> None:
    assert spacing_of(scaled(1.0)) == 2.0
    assert spacing_of(scaled(1.0), trained_spacing_mm=1.5) == 1.5


@pytest.mark.parametrize("factor", [0.1, 4.0])
def test_the_spacing_follows_the_size_of_the_images(factor: float) -> None:
    """A brain of a mouse needs smaller voxels than in training, a large body larger ones."""
    spacing = spacing_of(scaled(factor))
    assert spacing == pytest.approx(2.0 * factor / (1 if factor < 1 else 1.25), rel=0.1)
    # A spacing that is given is taken.
    assert spacing_of(scaled(factor), spacing_mm=3.0 * factor) == pytest.approx(3.0 * factor)


def test_a_bright_background_gives_the_same_images() -> None:
    usual = prepare(Pair(FIXED, MOVING), Settings(2.0, 16, initial="none"))
    bright = np.where(MOVING.values > 0, MOVING.values, 255).astype(np.float32)
    changed = prepare(Pair(FIXED, Volume(bright, MOVING.grid)), Settings(2.0, 16, initial="none"))
    assert changed.grid.coincides_with(usual.grid)
    assert changed.appearances["moving"].background == 255
    assert np.corrcoef(usual.images[0].ravel(), changed.images[0].ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spacing_mm": "2"}, "spacing is '2'; it must be auto, or a number of mm from 0.01 to 100"),
        ({"spacing_mm": 0.001}, "spacing is 0.001; it must be auto, or a number"),
        ({"spacing_mm": True}, "spacing is True; it must be auto"),
        ({"trained_spacing_mm": 200.0}, "spacing is 200.0; it must be auto"),
        ({"initial": "elastic"}, "initial is 'elastic'; it must be one of"),
        ({"modality": "us"}, "modality is 'us'; it must be one of auto, mr, ct"),
        ({"trained_modality": "us"}, "modality is 'us'; it must be one of auto, mr, ct"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Settings(**{"trained_spacing_mm": 2.0, "size_divisor": 16} | settings)
