from __future__ import annotations

import numpy as np

from sacb_bundle.data import phantom_pair


def test_same_seed_same_phantom() -> None:
    first, second, other = (phantom_pair((24, 24, 24), seed=seed) for seed in (1, 1, 2))
    for role in ("moving", "fixed"):
        assert np.array_equal(first[role][0], second[role][0])
        assert not np.array_equal(first[role][0], other[role][0])


def test_pair_differs_and_has_all_labels() -> None:
    pair = phantom_pair((64, 64, 64))
    for image, labels in pair.values():
        assert image.dtype == labels.dtype == np.uint8
        assert set(np.unique(labels)) == set(range(8))
        assert image[labels > 0].mean() > 5 * image[labels == 0].mean()
    assert not np.array_equal(pair["moving"][1], pair["fixed"][1])
