from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from sacb_bundle.ops import match_similarity


def test_equals_its_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    moving, fixed = (torch.randn(2, 3, 2, 4, 3, generator=generator) for _ in range(2))
    field = match_similarity(moving, fixed)
    for item, d, h, w in product(range(2), range(2), range(4), range(3)):
        logits, offsets = [], []
        for offset in product((-1, 0, 1), repeat=3):
            place = (d + offset[0], h + offset[1], w + offset[2])
            inside = all(0 <= index < size for index, size in zip(place, (2, 4, 3), strict=True))
            neighbour = moving[(item, slice(None), *place)] if inside else torch.zeros(3)
            logits.append(neighbour @ fixed[item, :, d, h, w])
            offsets.append(offset)
        expected = torch.tensor(offsets, dtype=torch.float32).T @ torch.stack(logits).softmax(0)
        torch.testing.assert_close(field[item, :, d, h, w], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("offset", [(1, 0, 0), (0, -1, 0), (0, 1, 1)])
def test_points_from_fixed_to_moving(offset: tuple[int, int, int]) -> None:
    moving, fixed = torch.zeros(1, 1, 5, 5, 5), torch.zeros(1, 1, 5, 5, 5)
    fixed[0, 0, 2, 2, 2] = 10
    moving[(0, 0, *(2 + step for step in offset))] = 10
    found = match_similarity(moving, fixed)[0, :, 2, 2, 2]
    torch.testing.assert_close(found, torch.tensor(offset, dtype=torch.float32), atol=1e-4, rtol=0)


def test_stays_in_fp32_under_autocast() -> None:
    moving, fixed = (torch.randn(1, 4, 3, 3, 3, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = match_similarity(moving, fixed)
    assert torch.equal(found, match_similarity(moving, fixed))


@pytest.mark.parametrize("cached_values", [1, 50, 2**22])
def test_slabs_give_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch, cached_values: int) -> None:
    monkeypatch.setattr("sacb_bundle.ops.matching.CACHED_VALUES", cached_values)
    moving, fixed = (torch.randn(2, 2, 7, 3, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    whole = match_similarity(moving, fixed)
    with torch.no_grad():
        torch.testing.assert_close(match_similarity(moving, fixed), whole)


@pytest.mark.parametrize("cached_values", [1, 2**22])
@torch.no_grad()
def test_a_bias_adds_to_the_logits(monkeypatch: pytest.MonkeyPatch, cached_values: int) -> None:
    monkeypatch.setattr("sacb_bundle.ops.matching.CACHED_VALUES", cached_values)
    features, bias = torch.zeros(2, 2, 5, 3, 4), torch.zeros(2, 27)
    bias[1, 0] = math.log(10.0)  # offset (-1, -1, -1) of the second item: 10 of 36 parts
    found = match_similarity(features, features, bias)
    torch.testing.assert_close(found[0], torch.zeros(3, 5, 3, 4))
    torch.testing.assert_close(found[1], torch.full((3, 5, 3, 4), -0.25))
