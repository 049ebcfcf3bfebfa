from __future__ import annotations

from pathlib import Path

import numpy as np

from sacb_bundle.data import Template, phantom_pair
from sacb_bundle.spatial import AlignmentCache, Grid, Volume


def test_a_ct_stays_in_hounsfield_units_and_another_image_is_scaled(tmp_path: Path) -> None:
    values = np.full((24, 24, 24), -1000, np.float32)
    values[4:20, 4:20, 4:20] = np.random.default_rng(0).normal(40, 20, (16, 16, 16))
    grid = Grid(values.shape, np.diag([2.0, 2, 2, 1]))
    for image, low, least_high in ((values, -160, 60), (values + 1000, 0, 0.9)):
        scan = Volume(image, grid)
        mean = (
            Template.of(scan, "scan", "affine", 2.0, AlignmentCache(tmp_path), "auto")
            .mean([(scan, "scan")], grid)
            .values
        )
        assert mean.min() == low
        assert least_high < mean.max() <= (300 if low else 1)


def test_images_of_different_kinds_count_alike(tmp_path: Path) -> None:
    tissue = np.random.default_rng(0).normal(40, 20, (16, 16, 16))
    ct, mr = np.full((24, 24, 24), -1000, np.float32), np.zeros((24, 24, 24), np.float32)
    ct[4:20, 4:20, 4:20], mr[4:20, 4:20, 4:20] = tissue, 5 * tissue + 500
    grid = Grid(ct.shape, np.diag([2.0, 2, 2, 1]))
    template = Template.of(Volume(ct, grid), "ct", "center", 2.0, AlignmentCache(tmp_path), "auto")
    means = [
        template.mean(images, grid).values
        for images in (
            [(Volume(ct, grid), "ct"), (Volume(mr, grid), "mr")],
            [(Volume(ct, grid), "ct")],
            [(Volume(mr, grid), "mr")],
        )
    ]
    assert 0 == means[0].min() < means[0].max() <= 1
    np.testing.assert_allclose(means[0], ((means[1] + 160) / 460 + means[2]) / 2, atol=0.02)


def test_the_mean_is_that_of_aligned_images(tmp_path: Path) -> None:
    image, _ = phantom_pair((32, 32, 32), amplitude=0.5)["fixed"]
    other, _ = phantom_pair((32, 32, 32), amplitude=0.5)["moving"]
    grid = Grid(image.shape, np.diag([2.0, 2, 2, 1]))
    moved = np.diag([2.0, 2, 2, 1])
    moved[:3, 3] = [30, -20, 10]
    scan = Volume(image.astype(np.float32), grid)
    template = Template.of(scan, "a", "center", 2.0, AlignmentCache(tmp_path), "auto")
    shifted = Volume(image.astype(np.float32), Grid(image.shape, moved))
    alone = template.mean([(template.image, "a")], grid).values
    np.testing.assert_allclose(template.mean([(shifted, "b")], grid).values, alone, atol=1e-4)
    both = template.mean([(shifted, "b"), (Volume(other.astype(np.float32), grid), "c")], grid).values
    second = template.mean([(Volume(other.astype(np.float32), grid), "c")], grid).values
    np.testing.assert_allclose(both, (alone + second) / 2, atol=1e-4)
    assert np.abs(second - alone).max() > 0.1
