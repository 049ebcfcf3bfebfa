from __future__ import annotations

import numpy as np
import torch

from sacb_bundle.quality import draw_slices
from sacb_bundle.spatial import DisplacementField, Grid, Transform, Volume


def test_a_slice_has_square_pixels_and_shows_where_the_transform_leads() -> None:
    """A ball of 8 mm radius, 6 mm further to the right in the moving image; voxels of 1 x 2 x 2 mm."""
    grid = Grid((48, 24, 20), np.diag([1.0, 2.0, 2.0, 1.0]))
    places = grid.to_world(np.argwhere(np.ones(grid.shape)))

    def ball(right: float) -> Volume:
        inside = np.linalg.norm(places - (20 + right, 24, 20), axis=1) < 8
        return Volume(inside.reshape(grid.shape).astype(np.float32), grid)

    field = torch.zeros(3, *grid.shape)
    field[0] = 6
    pictures = draw_slices(ball(0), ball(6), Transform(displacement=DisplacementField(field, grid)))
    assert list(pictures) == ["fixed", "moving", "warped", "grid"]
    assert {picture.size for picture in pictures.values()} == {(300, 250)}  # of 48 x 40 mm
    centres = {}
    for name in ("fixed", "moving", "warped"):
        rows, columns = np.nonzero(np.array(pictures[name])[..., 0] > 127)
        centres[name] = (columns.mean(), rows.mean())
        assert abs(np.ptp(columns) - np.ptp(rows)) <= 16  # a circle
    np.testing.assert_allclose(np.subtract(centres["moving"], centres["fixed"]), (6 * 300 / 48, 0), atol=1)
    np.testing.assert_allclose(centres["warped"], centres["fixed"], atol=1)
