from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.intensities import RULES, Appearance, Curve, appearance_of, in_hounsfield_units, scale

SIZE = 32
RADIUS = np.linalg.norm(np.indices((SIZE, SIZE, SIZE)) - (SIZE - 1) / 2, axis=0)
HEAD = RADIUS < 13
BRIGHT, DARK = 150.0, 50.0


def head(background: float = 0.0, low: float = DARK, high: float = BRIGHT) -> np.ndarray:
    """Draw a ball whose intensities are spread evenly between two values, on a background with a little noise."""
    generator = np.random.default_rng(0)
    tissue = generator.uniform(low, high, HEAD.shape)
    return np.where(HEAD, tissue, background + generator.normal(0, 0.1, HEAD.shape)).astype(np.float32)


def ct(background: float = -1000.0, air: float = -1000.0) -> np.ndarray:
    """Draw a body of soft tissue, with bone and lungs, in air, and beyond the field of view the background."""
    image = head(air, -50.0, 80.0)
    image[RADIUS < 4] = -800
    image[(RADIUS > 11) & HEAD] = 900
    image[RADIUS > 17] = background
    return image


def changed(image: np.ndarray, value: float, number: int, inside: bool = True) -> np.ndarray:
    """Give some voxels of the head, or of the background, another value."""
    places = np.flatnonzero(HEAD if inside else ~HEAD)
    image = image.copy()
    image.flat[np.random.default_rng(1).choice(places, number, replace=False)] = value
    return image


def crop(image: np.ndarray) -> np.ndarray:
    """Cut a block out of the head, which shows no background."""
    return image[9:23, 9:23, 9:23]


# Image, and its interpretation: modality, background, lowest and highest intensity that count.
APPEARANCES: dict[str, tuple[np.ndarray, str, float | None, float, float]] = {
    "dark background": (head(), "mr", 0, 0, 600),
    "bright background": (head(500), "mr", 500, 50, 450),
    "background amid z-scores": (head(0, -2, 2), "mr", 0, -2, 14),
    "dark outliers": (changed(head(), -4000, 9), "mr", 0, 0, 600),
    "hot voxels": (changed(head(), 30_000, 9), "mr", 0, 0, 600),
    "all negative": (head(-2000, -1900, -1800), "mr", -2000, -2000, -1200),
    "all negative, bright background": (head(-1000, -2000, -1400), "mr", -1000, -2000, 400),
    "ringing below -500": (changed(head(0, 500, 3000), -700, 100, inside=False), "mr", 0, 0, 12_000),
    "inverted": (255 - head(0, 100, 255), "mr", 255, 0, 620),
    "crop": (crop(head()), "mr", None, 50, 450),
    "CT": (ct(), "ct", -1000, -1000, np.inf),
    "CT with padding": (ct(-3024), "ct", -3024, -1000, np.inf),
    "CT with hot voxels": (changed(ct(), 30_000, 9), "ct", -1000, -1000, np.inf),
    "CT above zero": (ct() + 1000, "mr", 0, 0, np.nan),
}


@pytest.mark.parametrize("name", APPEARANCES)
def test_what_intensities_mean(name: str) -> None:
    image, modality, background, darkest, brightest = APPEARANCES[name]
    for stored in (image, np.ascontiguousarray(image[::-1].transpose(2, 0, 1))):
        for trained_modality in ("mr", "auto"):
            appearance = appearance_of(stored, "auto", trained_modality, "fixed")
            assert appearance.modality == modality
            near = pytest.approx(background, abs=appearance.tolerance)
            assert appearance.background is None if background is None else appearance.background == near
            assert appearance.darkest == pytest.approx(darkest, abs=appearance.tolerance)
            if not np.isnan(brightest):
                assert appearance.brightest == pytest.approx(brightest, abs=8 * appearance.tolerance)


def test_a_modality_that_is_named_is_taken() -> None:
    for image in (head(), ct()):
        assert appearance_of(image, "ct", "mr", "fixed").modality == "ct"
        assert appearance_of(image, "mr", "ct", "fixed").modality == "mr"
        # Weights that were trained on a modality other than MR keep it.
        assert appearance_of(image, "auto", "ct", "fixed").modality == "ct"


@pytest.mark.parametrize("value", [0, -1000, 7.5])
def test_a_constant_image_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=f"The moving image is constant: every voxel is {value:g}"):
        appearance_of(np.full((8, 8, 8), value), "auto", "mr", "moving")


def test_a_tiny_foreground_counts() -> None:
    image = np.zeros((16, 16, 16), np.float32)
    image[8, 8, 8] = 255
    appearance = appearance_of(image, "auto", "mr", "fixed")
    assert (appearance.background, appearance.darkest, appearance.brightest) == (0, 0, 4 * 255)


@pytest.mark.parametrize("background", [500.0, 100.0, 0.0])
def test_a_background_gets_the_lowest_intensity(background: float) -> None:
    image = head(background)
    cleaned = appearance_of(image, "auto", "mr", "fixed").cleaned(image)
    assert cleaned.dtype == np.float32
    assert np.ptp(cleaned[~HEAD]) < 1
    assert cleaned[~HEAD].max() <= cleaned[HEAD].min() + 0.1
    core = RADIUS < 11  # a voxel at the surface may have the intensity of the background by chance
    np.testing.assert_allclose(cleaned[core], image[core], atol=1)


def test_tissue_of_the_intensity_of_the_background_stays() -> None:
    image = head(100, 140, 200)
    image[HEAD & (RADIUS > 8)] = 50
    image[RADIUS < 3] = 100
    cleaned = appearance_of(image, "auto", "mr", "fixed").cleaned(image)
    assert (cleaned[RADIUS < 3] == 100).all()
    assert cleaned[~HEAD].max() == cleaned.min() == 50


def test_outliers_are_clipped() -> None:
    image = changed(changed(head(), -4000, 5), 30_000, 5)
    appearance = appearance_of(image, "auto", "mr", "fixed")
    cleaned = appearance.cleaned(image)
    assert (cleaned.min(), cleaned.max()) == pytest.approx((appearance.darkest, appearance.brightest))
    usual = np.abs(image) < 1000
    np.testing.assert_allclose(cleaned[usual], image[usual], atol=0.5)


def test_padding_of_a_ct_is_air() -> None:
    cleaned = {
        padding: appearance_of(ct(padding), "auto", "mr", "fixed").cleaned(ct(padding)) for padding in (-1000, -3024)
    }
    assert np.array_equal(cleaned[-1000], cleaned[-3024])
    assert cleaned[-3024].min() == -1000
    assert cleaned[-3024].max() == 900


def test_a_scaled_ct_shows_air_lungs_tissue_and_bone() -> None:
    image = ct()
    scaled = scale(appearance_of(image, "auto", "mr", "fixed").cleaned(image), "ct", "fixed")
    assert scaled[RADIUS > 18].max() < 0.15 * 1 / 840  # air, with noise of less than 1 HU
    lungs, bones = 0.15 * 200 / 840, 0.85 + 0.15 * 600 / 700
    np.testing.assert_allclose(scaled[image == -800], lungs, atol=1e-6)
    np.testing.assert_allclose(scaled[image == 900], bones, atol=1e-6)
    tissue = (image > -60) & (image < 90)
    np.testing.assert_allclose(scaled[tissue], 0.15 + 0.7 * (image[tissue] + 160) / 460, atol=1e-6)
    # Padding that a clipped CT has is air, too.
    clipped = image.clip(-125, 275)
    padding = appearance_of(clipped, "ct", "mr", "fixed").cleaned(clipped)
    assert scale(padding, "ct", "fixed")[RADIUS > 18].max() == 0


def test_the_background_of_a_clipped_ct_is_air() -> None:
    image = ct().clip(-125, 275)
    cleaned = appearance_of(image, "ct", "mr", "fixed").cleaned(image)
    assert np.array_equal(cleaned[~HEAD], np.full((~HEAD).sum(), -1000))
    assert np.array_equal(cleaned[HEAD], image[HEAD])


def test_tissue_at_the_faces_of_a_ct_is_no_background() -> None:
    image = crop(np.where(RADIUS < 4, -1000, 40).astype(np.float32))
    appearance = appearance_of(image, "ct", "mr", "fixed")
    assert appearance == Appearance("ct", None, -1000, np.inf, appearance.tolerance)
    assert np.array_equal(appearance.cleaned(image), image)


def test_mr_goes_from_the_minimum_to_a_percentile() -> None:
    image = np.linspace(-3, 7, 1001, dtype=np.float32).reshape(7, 11, 13)
    scaled = scale(image, "mr", "fixed")
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    assert scaled.flat[500] == pytest.approx(5 / (0.999 * 10))


@pytest.mark.parametrize(
    ("hounsfield", "value"),
    [
        *((-3000, 0), (-1000, 0), (-580, 0.075), (-160, 0.15)),  # air, and lungs
        *((-45, 0.325), (70, 0.5), (185, 0.675), (300, 0.85)),  # fat, and organs
        *((650, 0.925), (1000, 1), (3000, 1)),  # bones, and metal
    ],
)
def test_ct_is_linear_between_air_soft_tissue_and_bone(hounsfield: float, value: float) -> None:
    scaled = scale(np.array([hounsfield], np.float32), "ct", "fixed")
    assert scaled.dtype == np.float32
    assert scaled[0] == np.float32(value)


def test_ct_keeps_the_order_of_intensities() -> None:
    whole = np.arange(-1100, 1101, dtype=np.float32)
    # Neighbours in fp32 on both sides of each knot.
    knots = [np.nextafter(np.float32(hu), np.float32(to)) for hu in (-1000, -160, 300, 1000) for to in (-2000, 2000)]
    scaled = scale(np.sort(np.concatenate([whole, knots])), "ct", "fixed")
    assert (scaled.min(), scaled.max(), scaled.dtype) == (0, 1, np.float32)
    assert (np.diff(scaled) >= 0).all()
    assert (np.diff(scale(whole, "ct", "fixed")[100:2101]) > 0).all()  # each HU counts


def test_a_rule_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "abdomen", Curve({-200: 0, 400: 1}, hounsfield=True))
    assert scale(np.array([-300, -200, 100, 400, 500], np.float32), "abdomen", "fixed").tolist() == [0, 0, 0.5, 1, 1]
    # Weights trained with a custom modality keep it.
    assert appearance_of(head(), "auto", "abdomen", "fixed").modality == "abdomen"


def test_a_curve_may_be_of_hounsfield_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "abdomen", Curve({-200: 0, 400: 1}, hounsfield=True))
    monkeypatch.setitem(RULES, "ultrasound", Curve({0: 0, 255: 1}))
    monkeypatch.setitem(RULES, "function", lambda image: image.clip(0, 1))
    units = {rule: in_hounsfield_units(rule) for rule in ("ct", "abdomen", "mr", "ultrasound", "function")}
    assert units == {"ct": True, "abdomen": True, "mr": False, "ultrasound": False, "function": False}


def test_the_order_of_knots_does_not_matter() -> None:
    image = np.array([-5, 0, 5, 10, 15, 20, 25], np.float32)
    for curve in (Curve({0: 0, 10: 0.5, 20: 1}), Curve({20: 1, 0: 0, 10: 0.5})):
        assert curve(image).tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_an_image_that_shows_next_to_nothing_is_refused() -> None:
    image = np.random.default_rng(0).random((16, 16, 16), np.float32)
    assert scale(image, "mr", "fixed").max() == 1
    image[:] = 0
    image[8, 8, 8] = 255
    with pytest.raises(InputError, match="The fixed image is almost empty"):
        scale(image, "mr", "fixed")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda image: image, r"The rule own scales the fixed image to 0 to 236; it must be 0 to 1\."),
        (lambda image: image * np.nan, r"The rule own scales the fixed image to nan to nan; it must be 0 to 1\."),
    ],
)
def test_a_rule_must_give_values_from_0_to_1(
    rule: Callable[[np.ndarray], np.ndarray], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RULES, "own", rule)
    with pytest.raises(InputError, match=message):
        scale(np.array([[[0.0, 118.0, 236.0]]], np.float32), "own", "fixed")


def test_a_curve_has_two_knots() -> None:
    with pytest.raises(ValueError, match=r"the curve through \{400: 1\} needs two knots or more"):
        Curve({400: 1})
