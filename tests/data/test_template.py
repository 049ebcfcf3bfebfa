from __future__ import annotations

from pathlib import Path

import numpy as np

from sacb_bundle.data import Template, phantom_pair
from sacb_bundle.spatial import Grid, Volume


def test_a_ct_stays_in_hounsfield_units_and_another_image_is_scaled(tmp_path: Path) -> None:
    values = np.full((24, 24, 24), -1000, np.float32)
    values[4:20, 4:20, 4:20] = np.random.default_rng(0).normal(40, 20, (16, 16, 16))
    grid = Grid(values.shape, np.diag([2.0, 2, 2, 1]))
    for image, low, least_high in ((values, -160, 60), (values + 1000, 0, 0.9)):
        scan = Volume(image, grid)
        mean = Template(scan, "scan", "affine", 2.0, tmp_path, "auto").mean([(scan, "scan")], grid).values
        assert mean.min() == low
        assert least_high < mean.max() <= (300 if low else 1)


def test_the_mean_is_that_of_aligned_images(tmp_path: Path) -> None:
    image, _ = phantom_pair((32, 32, 32), amplitude=0.5)["fixed"]
    other, _ = phantom_pair((32, 32, 32), amplitude=0.5)["moving"]
    grid = Grid(image.shape, np.diag([2.0, 2, 2, 1]))
    moved = np.diag([2.0, 2, 2, 1])
    moved[:3, 3] = [30, -20, 10]
    template = Template(Volume(image.astype(np.float32), grid), "a", "center", 2.0, tmp_path, "auto")
    shifted = Volume(image.astype(np.float32), Grid(image.shape, moved))
    alone = template.mean([(template.image, "a")], grid).values
    np.testing.assert_allclose(template.mean([(shifted, "b")], grid).values, alone, atol=1e-4)
    both = template.mean([(shifted, "b"), (Volume(other.astype(np.float32), grid), "c")], grid).values
    second = template.mean([(Volume(other.astype(np.float32), grid), "c")], grid).values
    np.testing.assert_allclose(both, (alone + second) / 2, atol=1e-4)
    assert np.abs(second - alone).max() > 0.1
