"""Tetrahedra that cut the cube between eight neighbouring voxels."""

from __future__ import annotations

from itertools import product
from typing import TypeAlias

Corner: TypeAlias = tuple[int, int, int]


def _opposite(corner: Corner, axes: set[int]) -> Corner:
    """Return the corner of the unit cube opposite the given one along each of the axes."""
    d, h, w = (1 - position if axis in axes else position for axis, position in enumerate(corner))
    return d, h, w


CORNERS: tuple[Corner, ...] = tuple(product((0, 1), (0, 1), (0, 1)))

# Each tetrahedron as its apex and its other corners. A tetrahedron at a corner of the cube extends along the edges of
# the cube. Those at the four even corners leave the one between the odd corners, and vice versa.
TETRAHEDRA: tuple[tuple[Corner, tuple[Corner, ...]], ...] = (
    *((apex, tuple(_opposite(apex, axes) for axes in ({0}, {1}, {2}))) for apex in CORNERS),
    *((apex, tuple(_opposite(apex, axes) for axes in ({1, 2}, {0, 2}, {0, 1}))) for apex in (CORNERS[0], CORNERS[-1])),
)


def orientation(apex: Corner) -> int:
    """Return the sign of the determinant of the edges of a tetrahedron in a cube without displacement.

    Args:
        apex: corner of the unit cube, from which the edges start.

    Returns:
        1 at an even corner, -1 at an odd one.
    """
    return 1 - 2 * (sum(apex) % 2)
