"""Random contrasts."""

from __future__ import annotations

import pytest
import torch

from sacb_bundle.transforms import RandContrastd, RandLabelIntensitiesd

KEYS = ["moving", "fixed"]


def pair() -> dict[str, torch.Tensor]:
    ramp = torch.linspace(0, 1, 101).reshape(1, 1, 1, -1)
    return {"moving": ramp, "fixed": ramp.clone()}


def test_a_curve_maps_equal_intensities_alike_and_keeps_the_background() -> None:
    mapped = RandContrastd(KEYS, prob=1).set_random_state(seed=1)(pair())
    for image in mapped.values():
        assert image[..., 0] == 0
        assert 0.05 <= image[..., 1:].min() <= image.max() <= 1
        # Linear between six values: the slope changes at four places.
        assert image[..., 1:].diff().diff().abs().gt(1e-4).sum() == 4
    assert not torch.equal(mapped["moving"], mapped["fixed"])
    falls = [bool((image[..., 1:].diff() < 0).any()) for image in mapped.values()]
    assert all(falls)


def test_contrasts_follow_the_seed_and_the_probability() -> None:
    transform = RandContrastd(KEYS, prob=0.5)
    first = [transform.set_random_state(seed=seed)(pair()) for seed in range(40)]
    again = [transform.set_random_state(seed=seed)(pair()) for seed in range(40)]
    assert all(torch.equal(a[key], b[key]) for a, b in zip(first, again, strict=True) for key in KEYS)
    changed = sum(not torch.equal(images[key], pair()[key]) for images in first for key in KEYS)
    assert 28 <= changed <= 52  # of 80
    unchanged = RandContrastd(KEYS, prob=0)(pair())
    assert all(torch.equal(unchanged[key], pair()[key]) for key in KEYS)


def labelled(highest: int) -> dict[str, torch.Tensor]:
    labels = (torch.arange(4 * 500) % 4).reshape(1, 4, 20, 25).float()
    labels[labels == 3] = highest
    return pair() | {f"{key}_labels": labels for key in KEYS}


def test_each_label_gets_an_intensity_and_noise_lies_within() -> None:
    made = RandLabelIntensitiesd(KEYS, prob=1, noise=0.02).set_random_state(seed=0)(labelled(30))
    labels = made["moving_labels"]
    means = []
    for label in (1, 2, 30):
        values = made["moving"][labels == label]
        assert 0 < values.std() < 0.021
        means.append(values.mean().item())
    assert len({round(mean, 2) for mean in means}) == 3
    assert made["moving"][labels == 0].abs().max() == 0
    assert 0 <= made["moving"].min() <= made["moving"].max() <= 1
    assert not torch.equal(made["moving"], made["fixed"])
    again = RandLabelIntensitiesd(KEYS, prob=1, noise=0.02).set_random_state(seed=0)(labelled(30))
    assert torch.equal(made["moving"], again["moving"])


@pytest.mark.parametrize(("prob", "highest"), [(0.0, 30), (1.0, 13)])
def test_images_stay_without_luck_or_with_few_labels(prob: float, highest: int) -> None:
    made = RandLabelIntensitiesd(KEYS, prob=prob)(labelled(highest))
    assert all(torch.equal(made[key], pair()[key]) for key in KEYS)
