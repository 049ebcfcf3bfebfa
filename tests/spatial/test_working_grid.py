"""Spacing of the working grid."""

from __future__ import annotations

import pytest

from sacb_bundle.spatial import fitting_spacing


@pytest.mark.parametrize(
    ("trained", "body", "voxels", "expected"),
    [
        (2.0, 150.0, 1.0, 2.0),  # a brain
        (2.0, 150.0, 5.0, 2.0),
        (1.0, 130.0, 0.5, 1.0),
        (2.0, 80.0, 1.0, 2.0),  # the smallest and the largest body that count as usual
        (2.0, 280.0, 1.0, 2.0),
        (2.0, 16.0, 0.1, 0.27),  # a mouse brain: 60 voxels
        (2.0, 16.0, 0.3, 0.3),  # not finer than the images
        (2.0, 50.0, 1.0, 1.0),  # a box around the hippocampus
        (2.0, 1700.0, 5.0, 28.0),  # a whole body
        (1.0, 330.0, 1.5, 5.5),
    ],
)
def test_the_spacing_fits_the_body(trained: float, body: float, voxels: float, expected: float) -> None:
    assert fitting_spacing(trained, body, voxels) == expected
