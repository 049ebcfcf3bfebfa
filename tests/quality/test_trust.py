"""Verdicts on results, and the check that a field helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from sacb_bundle.data import phantom_images
from sacb_bundle.ops import warp
from sacb_bundle.quality import doubts_of, evidence_of, field_helps, verdict_of
from sacb_bundle.registration.pair import Pair
from sacb_bundle.registration.prepare import Prepared, Settings, prepare
from sacb_bundle.spatial import Volume

FIXED, MOVING = phantom_images((48, 64, 48), amplitude=0.7)
GOOD: dict[str, Any] = {"trust": 0.9, "alignment_scale": 1.0, "mirror_evidence": -0.3}
SHIFT_VOXELS = 2


def prepared(moving: np.ndarray) -> Prepared:
    """Prepare the phantom and an image that counts as aligned with it."""
    pair = Pair(FIXED, Volume(np.ascontiguousarray(moving), MOVING.grid))
    return prepare(pair, Settings(trained_spacing_mm=2.0, size_divisor=16, initial="none"))


def evidence_in(pair: Prepared) -> dict[str, float]:
    """Measure whether the images of a prepared pair show the same thing."""
    return evidence_of(pair.volumes["fixed"], pair.volumes["moving"], pair.initial, pair.sources)


def test_images_of_the_same_thing_are_trusted() -> None:
    evidence = evidence_in(prepared(MOVING.values))
    assert evidence["trust"] > 0.95
    assert evidence["mutual_information"] > 0.5
    assert evidence["way_back_percent"] < 5
    assert evidence["mirror_evidence"] < 0


def test_an_unrelated_image_is_not_trusted() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (12, 16, 12)).astype(np.uint8)
    evidence = evidence_in(prepared(np.kron(blocks, np.ones((4, 4, 4), np.uint8))))
    assert evidence["trust"] < 0.1
    assert evidence["mutual_information"] < 0.1
    assert evidence["way_back_percent"] > 20


def test_an_image_without_foreground_is_not_trusted() -> None:
    empty = prepared(MOVING.values)
    empty.images[1] = 0
    assert evidence_in(empty)["trust"] == 0
    assert not field_helps(*torch.from_numpy(empty.images[[1, 0, 0]]).split(1))


def test_a_mirrored_image_is_seen() -> None:
    evidence = evidence_in(prepared(MOVING.values[::-1]))
    assert evidence["mirror_evidence"] > 0.3
    assert doubts_of(GOOD | evidence) == ["left and right look swapped in one of the headers"]


def images(inverted: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the phantom, and a copy that lies two voxels beside it, of the same or of inverted contrast."""
    fixed = torch.from_numpy(FIXED.values)[None] / 255
    moving = torch.where(fixed > 0.05, 1 - fixed, 0) if inverted else fixed
    return fixed, moving.roll(SHIFT_VOXELS, dims=1)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_field_that_aligns_helps(inverted: bool) -> None:
    fixed, moving = images(inverted)
    field = torch.zeros(1, 3, *moving.shape[1:])
    field[:, 0] = SHIFT_VOXELS
    assert field_helps(fixed, moving, warp(moving[None], field)[0])
    assert not field_helps(fixed, moving, warp(moving[None], -field)[0])
    assert not field_helps(fixed, moving, moving)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_random_field_does_not_help(inverted: bool) -> None:
    fixed, moving = images(inverted)
    aligned = moving.roll(-SHIFT_VOXELS, dims=1)
    noise = [gaussian_filter(np.random.default_rng(axis).standard_normal(FIXED.grid.shape), 4) for axis in range(3)]
    field = torch.from_numpy(np.stack(noise)).float()[None]
    field *= SHIFT_VOXELS / field.std()
    assert not field_helps(fixed, aligned, warp(aligned[None], field)[0])
    # The inverse, approximately.
    astray = warp(aligned[None], field)[0]
    assert field_helps(fixed, astray, warp(astray[None], -field)[0])


def test_a_field_between_two_phases_of_a_scan_is_kept() -> None:
    """The images share their noise where nothing moves, and interpolation changes it."""
    generator = np.random.default_rng(0)
    noisy = torch.from_numpy(FIXED.values / 255 + generator.normal(0, 0.02, FIXED.grid.shape)).float()[None].clamp(0, 1)
    field = torch.zeros(1, 3, *FIXED.grid.shape)
    field[0, 0, 16:32, 24:40, 16:32] = 2
    moving = warp(noisy[None], field)[0]
    everywhere = torch.full_like(field, 0.3)
    warped = warp(moving[None], everywhere - field)[0]
    assert field_helps(noisy, moving, warped)
    # Equal images need no field, and must not be moved apart.
    assert not field_helps(noisy, noisy, warp(noisy[None], everywhere)[0])
    assert not field_helps(noisy, moving, warp(moving[None], 5 * everywhere)[0])
    # The same field is no help for images that are further apart.
    assert not field_helps(noisy, moving.roll(4, dims=1), warp(moving.roll(4, dims=1)[None], -everywhere)[0])


@pytest.mark.parametrize(
    ("change", "verdict", "doubts"),
    [
        ({}, "good", []),
        ({"trust": 0.5}, "good", []),
        ({"trust": 0.49}, "doubtful", ["the images agree hardly better than unrelated ones (trust 0.49)"]),
        ({"trust": 0.2}, "doubtful", ["the images agree hardly better than unrelated ones (trust 0.20)"]),
        ({"trust": 0.19}, "failed", ["the images agree hardly better than unrelated ones (trust 0.19)"]),
        ({"alignment_scale": 1.8}, "good", []),
        ({"alignment_scale": 1.81}, "doubtful", ["the alignment scales by 1.81"]),
        ({"alignment_scale": 0.56}, "good", []),
        ({"alignment_scale": 0.55}, "doubtful", ["the alignment scales by 0.55"]),
        ({"mirror_evidence": 0.24}, "good", []),
        ({"mirror_evidence": 0.25}, "doubtful", ["left and right look swapped in one of the headers"]),
        ({"dice_before": 0.7, "dice_after": 0.651}, "good", []),
        ({"dice_before": 0.7, "dice_after": 0.649}, "doubtful", ["Dice falls: 0.700 to 0.649"]),
        ({"dice_before": None, "dice_after": None}, "good", []),
        ({"labels": []}, "doubtful", ["the label maps have no value in common"]),
    ],
)
def test_the_verdict(change: dict[str, Any], verdict: str, doubts: list[str]) -> None:
    assert verdict_of(GOOD | change) == verdict
    assert doubts_of(GOOD | change) == doubts
