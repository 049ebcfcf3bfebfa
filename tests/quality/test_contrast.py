"""Tell whether two images have one contrast."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sacb_bundle.data import phantom_pair
from sacb_bundle.quality import have_one_contrast
from sacb_bundle.quality.contrast import positive_share, reversal


def images(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    pair = phantom_pair((48, 48, 48), seed, amplitude=1.0)
    return pair["moving"][0] / np.float32(255), pair["fixed"][0] / np.float32(255)


def inverted(image: np.ndarray) -> np.ndarray:
    return np.where(image > 0.05, 1 - image, image)


def swapped(image: np.ndarray) -> np.ndarray:
    """Dark tissue becomes the brightest, as fluid from a T1 to a T2; the rest stays."""
    return np.interp(image, [0, 0.05, 0.15, 0.35, 1], [0, 0.06, 1, 0.2, 0.9]).astype(np.float32)


def one_contrast(moving: np.ndarray, fixed: np.ndarray, masks: np.ndarray | None = None) -> bool:
    given = None if masks is None else torch.from_numpy(masks)[None]
    return have_one_contrast(torch.from_numpy(moving)[None], torch.from_numpy(fixed)[None], given)


@pytest.mark.parametrize("seed", [0, 1])
def test_phantoms_have_one_contrast_unless_changed(seed: int) -> None:
    moving, fixed = images(seed)
    assert one_contrast(moving, fixed)
    assert one_contrast(0.2 + 0.5 * moving, fixed)
    assert not one_contrast(inverted(moving), fixed)
    assert not one_contrast(moving, inverted(fixed))
    assert not one_contrast(swapped(moving), fixed)


def test_outside_of_the_masks_nothing_counts() -> None:
    moving, fixed = images()
    changed = np.where(np.arange(48).reshape(48, 1, 1) < 24, inverted(moving), moving)
    masks = np.ones((2, 48, 48, 48), bool)
    assert not one_contrast(changed, fixed, masks)
    masks[1, :24] = False
    assert one_contrast(changed, fixed, masks)


def test_measures_of_known_images() -> None:
    rising = torch.linspace(0.1, 1, 32).reshape(1, 32, 1, 1).expand(1, 32, 32, 32)
    shown = torch.ones_like(rising, dtype=torch.bool)
    assert reversal(rising, rising.square(), shown) == pytest.approx(0, abs=1e-9)
    assert reversal(1.1 - rising, rising, shown) == pytest.approx(1, abs=0.01)
    assert positive_share(rising, rising, shown) == 1
    assert positive_share(1.1 - rising, rising, shown) == 0
    # A tent is as far from a rising curve in the half that falls as it is explained there.
    assert 0.3 < reversal(rising, (rising - 0.55).abs(), shown) < 0.9
    nothing = torch.zeros_like(shown)
    assert (reversal(rising, rising, nothing), positive_share(rising, rising, nothing)) == (0, 1)
