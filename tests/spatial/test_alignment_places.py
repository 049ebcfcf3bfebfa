from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sacb_bundle.spatial import Grid, Volume, align
from sacb_bundle.spatial.alignment_start import Start

WHOLE = (32, 28, 64)


def trunk() -> np.ndarray:
    """Return a trunk of organs of several sizes, along the last axis."""
    random = np.random.default_rng(4)
    body = np.zeros(WHOLE)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, size) for size in WHOLE), indexing="ij")
    body[x**2 + y**2 < 0.7] = 60
    for _ in range(25):
        place, radius = random.uniform((8, 8, 4), (24, 20, 60)), random.uniform(2, 5)
        distance = np.linalg.norm(np.indices(WHOLE) - place[:, None, None, None], axis=0)
        body[(distance < radius) & (body > 0)] = random.uniform(80, 250)
    return gaussian_filter(body, 0.7).astype(np.float32)


@pytest.mark.parametrize("first", [0, 36])
def test_a_part_of_a_trunk_is_found_in_the_whole(first: int) -> None:
    grid = Grid(WHOLE, np.diag([4.0, 4, 4, 1]))
    part = trunk()[:, :, first : first + 28]
    matrix = align(Volume(part, Grid(part.shape, grid.affine)), Volume(trunk(), grid), "affine")
    places = np.indices(part.shape).reshape(3, -1).T * 4.0
    found = places @ matrix[:3, :3].T + matrix[:3, 3]
    errors = np.linalg.norm(found - places - np.array([0, 0, 4.0 * first]), axis=1)
    assert errors.mean() < 4


def test_a_start_moves_with_the_image() -> None:
    start = Start(np.eye(3), 1.0, np.array([1.0, 2, 3]), np.array([4.0, 5, 6]))
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    motion[:3, 3] = (10, 20, 30)
    np.testing.assert_allclose(start.moved(motion).matrix, motion @ start.matrix, atol=1e-12)
