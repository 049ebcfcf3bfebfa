from __future__ import annotations

from pathlib import Path

import numpy as np

from sacb_bundle.data import Template
from sacb_bundle.spatial import Grid, Volume


def test_a_ct_stays_in_hounsfield_units_and_another_image_is_scaled(tmp_path: Path) -> None:
    values = np.full((24, 24, 24), -1000, np.float32)
    values[4:20, 4:20, 4:20] = np.random.default_rng(0).normal(40, 20, (16, 16, 16))
    grid = Grid(values.shape, np.diag([2.0, 2, 2, 1]))
    for image, low, least_high in ((values, -160, 60), (values + 1000, 0, 0.9)):
        scan = Volume(image, grid)
        averaged = Template(scan, "scan", "affine", 2.0, tmp_path, "auto").comparable(scan, "scan").values
        assert averaged.min() == low
        assert least_high < averaged.max() <= (300 if low else 1)
