"""Spacing of the working grid."""

from __future__ import annotations

import pytest

from sacb_bundle.spatial import fitting_spacing


@pytest.mark.parametrize(
    ("trained", "trained_body", "body", "voxels", "expected"),
    [
        (2.0, (120.0, 120.0), 130.0, 1.0, 2.0),  # a brain
        (2.0, (120.0, 120.0), 130.0, 5.0, 2.0),
        (2.0, (120.0, 120.0), 96.0, 1.0, 2.0),  # the smallest and the largest body that count as usual
        (2.0, (120.0, 120.0), 150.0, 1.0, 2.0),
        (2.0, (120.0, 120.0), 95.0, 1.0, 2.0),  # no jump beyond them
        (2.0, (120.0, 120.0), 153.0, 1.0, 2.0),
        (2.0, (120.0, 120.0), 84.0, 1.0, 1.6),
        (2.0, (120.0, 120.0), 72.0, 1.0, 1.2),
        (2.0, (120.0, 120.0), 71.0, 1.0, 1.2),
        (2.0, (120.0, 120.0), 9.0, 0.1, 0.15),  # a mouse brain
        (2.0, (120.0, 120.0), 9.0, 0.3, 0.3),  # not finer than the images
        (2.0, (120.0, 120.0), 9.0, 5.0, 2.0),  # nor coarser than in the training
        (2.0, (120.0, 120.0), 38.0, 1.0, 1.0),  # a box around the hippocampus
        (2.0, (120.0, 120.0), 300.0, 1.0, 4.0),  # an abdomen
        (2.0, (120.0, 120.0), 1700.0, 5.0, 23.0),  # a whole body
        (1.0, (40.0, 40.0), 36.0, 1.0, 1.0),  # weights for the hippocampus
        (2.0, (60.0, 240.0), 96.0, 1.0, 2.0),  # weights for bodies of many sizes
        (2.0, (60.0, 240.0), 300.0, 1.0, 2.0),
        (2.0, (60.0, 240.0), 60.0, 0.5, 1.0),  # as many voxels as a body of 120 mm
        (2.0, (60.0, 240.0), 600.0, 1.0, 4.0),
        (1.0, None, 330.0, 1.5, 1.0),
    ],
)
def test_the_spacing_fits_the_body(
    trained: float, trained_body: tuple[float, float] | None, body: float, voxels: float, expected: float
) -> None:
    assert fitting_spacing(trained, trained_body, body, voxels) == expected
