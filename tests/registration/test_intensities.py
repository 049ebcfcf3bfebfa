from __future__ import annotations

import numpy as np
import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.registration.intensities import RULES, modality_of, scale, window


def test_mr_goes_from_the_minimum_to_a_percentile() -> None:
    image = np.linspace(-3, 7, 1001, dtype=np.float32).reshape(7, 11, 13)
    scaled = scale(image, "mr", "fixed")
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    assert scaled.flat[500] == pytest.approx(5 / (0.999 * 10))


def test_ct_is_a_window() -> None:
    image = np.array([-2000, -1000, 0, 500, 3000], np.float32)
    assert scale(image, "ct", "fixed").tolist() == [0, 0, 0.5, 0.75, 1]


def test_a_rule_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "abdomen", window(-200, 400))
    assert scale(np.array([-200, 100, 400], np.float32), "abdomen", "fixed").tolist() == [0, 0.5, 1]
    # Weights trained with a custom modality keep it.
    assert modality_of(np.zeros(3), "auto", "abdomen") == "abdomen"


@pytest.mark.parametrize(("lowest", "expected"), [(-1000, "ct"), (-500, "mr"), (0, "mr")])
def test_the_modality_of_an_image(lowest: float, expected: str) -> None:
    image = np.array([lowest, 100])
    for trained_modality in ("mr", "auto"):
        assert modality_of(image, "auto", trained_modality) == expected
    # Weights that were trained by another rule keep it.
    assert modality_of(image, "auto", "ct") == "ct"
    assert modality_of(image, "ct", "mr") == "ct"


def test_an_image_that_shows_next_to_nothing_is_refused() -> None:
    image = np.random.default_rng(0).random((16, 16, 16), np.float32)
    assert scale(image, "mr", "fixed").max() == 1
    image[:] = 0
    image[8, 8, 8] = 255
    with pytest.raises(InputError, match="The fixed image is almost empty"):
        scale(image, "mr", "fixed")
