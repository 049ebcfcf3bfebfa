from __future__ import annotations

import numpy as np
import pytest

from sacb_bundle.spatial import Grid

AFFINE = np.array([[0.0, 2, 0, 5], [1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


def test_spacing_is_along_the_voxel_axes() -> None:
    assert Grid((4, 5, 6), AFFINE).spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("shift", "coincides"), [(0.0, True), (0.009, True), (0.02, False)])
def test_grids_coincide_within_a_hundredth_of_a_voxel(shift: float, coincides: bool) -> None:
    moved = AFFINE.copy()
    moved[2, 3] += shift
    assert Grid((4, 5, 6), AFFINE).coincides_with(Grid((4, 5, 6), moved)) is coincides


def test_a_small_difference_of_spacing_counts_at_the_far_end() -> None:
    stretched = AFFINE.copy()
    stretched[2, 2] *= 1.0005
    assert Grid((4, 5, 6), AFFINE).coincides_with(Grid((4, 5, 6), stretched))
    assert not Grid((4, 5, 300), AFFINE).coincides_with(Grid((4, 5, 300), stretched))


def test_other_shape_does_not_coincide() -> None:
    assert not Grid((4, 5, 6), AFFINE).coincides_with(Grid((4, 5, 7), AFFINE))


def test_distance_to_the_voxels() -> None:
    grid = Grid((4, 5, 6), AFFINE)
    corner = grid.to_world(np.array([[3.5, 4.5, 5.5]]))[0]
    points = np.array([grid.corners[0], corner, corner + np.array([8, 3, 0]), corner - np.array([0, 0, 20])])
    np.testing.assert_allclose(grid.distance_to(points), [0, 0, np.hypot(8, 3), 2], atol=1e-9)
