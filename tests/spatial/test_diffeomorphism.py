from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacb_bundle.spatial import DisplacementField, Grid, Transform, consistent_inverse, inverse_error, invert
from sacb_bundle.spatial import made_diffeomorphic as diffeomorphic


def smooth_field(grid: Grid, amplitude: float, seed: int = 0) -> DisplacementField:
    """Return a smooth random field, in voxels, on a grid."""
    noise = torch.randn(1, 3, 6, 6, 6, generator=torch.Generator().manual_seed(seed))
    field = F.interpolate(noise, size=grid.shape, mode="trilinear", align_corners=True)[0]
    return DisplacementField.from_voxels(amplitude * field, grid)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_consistent_inverse_is_never_worse(scale: float) -> None:
    """At large scales, voxels at the border are extrapolated, which must not spoil the others."""
    grid = Grid((24, 24, 24), np.diag([2.0, 2.0, 2.0, 1.0]))
    moving = Grid((24, 24, 24), np.diag([2 * scale] * 3 + [1.0]))
    transform = Transform(np.diag([scale] * 3 + [1.0]), diffeomorphic(smooth_field(grid, 0.6)))
    means = []
    for inverse in (invert(transform, moving), consistent_inverse(transform, moving)):
        inside = inverse_error(transform, inverse, grid).error[4:-4, 4:-4, 4:-4]
        means.append(inside[inside >= 0].mean())
    assert means[1] < means[0]


def test_a_smooth_field_stays_as_it_is() -> None:
    field = smooth_field(Grid((20, 20, 20), np.eye(4)), 0.3)
    torch.testing.assert_close(diffeomorphic(field).vectors, field.vectors)
