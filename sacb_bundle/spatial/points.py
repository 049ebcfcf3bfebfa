"""Points in world coordinates, and their files: CSV and 3D Slicer markups."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import parse_json, read_text
from ..tables import parse_table
from .grid import RAS_TO_LPS
from .inverse import solve
from .transform import Transform, from_positions, to_positions

COORDINATES = ("x", "y", "z")
# Largest distance at which a point counts as found.
LARGEST_ERROR_MM = 0.1
# Markups that are defined by control points alone.
MARKUPS = ("Fiducial", "Line", "Angle", "Curve", "ClosedCurve")
# States of a control point without a position.
UNPLACED = ("undefined", "missing")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*", re.IGNORECASE | re.ASCII)


def warp_points(transform: Transform, points: np.ndarray) -> np.ndarray:
    """Map points from the moving image to the fixed image, in the direction in which images are warped.

    The transform maps fixed to moving coordinates, so its inverse is solved for each point.

    Args:
        transform: transform from fixed to moving.
        points: world coordinates (N, 3) in the moving image, in mm, RAS.

    Returns:
        World coordinates (N, 3) in the fixed image, in mm, RAS.

    Raises:
        InputError: if no point is mapped to one of the points.
    """
    targets = to_positions(points, transform.device)
    places = solve(transform, targets)
    error = from_positions(transform(places) - targets)
    lost = np.flatnonzero(~(np.linalg.norm(error, axis=1) <= LARGEST_ERROR_MM))
    if lost.size:
        where = ", ".join(f"{value:.4g}" for value in points[lost[0]])
        raise InputError(
            f"Point {lost[0] + 1} at ({where}) mm RAS has no counterpart in the fixed image that could be found; "
            "the transform folds there."
        )
    return from_positions(places)


def with_points_moved(source: Path, move: Callable[[np.ndarray], np.ndarray], space: str) -> str:
    """Move the points in the text of a file, and keep everything else.

    Args:
        source: path of a CSV with the columns x, y and z, or of 3D Slicer markups (.json).
        move: function from points (N, 3) to points (N, 3), in mm, RAS.
        space: coordinate system of a CSV, "LPS" or "RAS"; markups name their own.

    Returns:
        The text of a file of the same kind.

    Raises:
        InputError: if there is no such file, or it holds no points.
    """
    text = read_text(source)
    if source.name.lower().endswith(".json") or text.lstrip().startswith("{"):
        return _with_markups_moved(text, source, move)
    return _with_rows_moved(text, source, move, space)


def _with_rows_moved(text: str, source: Path, move: Callable[[np.ndarray], np.ndarray], space: str) -> str:
    """Move the points in the text of a CSV file, see `with_points_moved`.

    Raises:
        InputError: if it holds no points; names the file.
    """
    table = parse_table(text, COORDINATES, source)
    if not table.rows:
        raise InputError(f"{source}: needs at least one point.")
    points = np.array([[number(row[name], source, line) for name in COORDINATES] for line, row in table.rows])
    for (_, row), point in zip(table.rows, _in_space(move(_in_space(points, space)), space), strict=True):
        row.update({name: f"{value:.6f}" for name, value in zip(COORDINATES, point, strict=True)})
    written = io.StringIO(newline="")
    end = "\r\n" if "\r\n" in text else "\n"
    writer = csv.writer(written, delimiter=table.delimiter, lineterminator=end)
    writer.writerows([table.header, *(row.values() for _, row in table.rows)])
    return written.getvalue()


def number(text: str, source: Path, line: int) -> float:
    """Parse a coordinate.

    Args:
        text: cell of the table.
        source: path of the file, for the error message.
        line: number of the line in the file, for the error message.

    Returns:
        The coordinate, in mm.

    Raises:
        InputError: if it is not a finite number; names the file and the line.
    """
    # Python's own rules would also take 1_000 and digits of other scripts.
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise InputError(f"{source}, line {line}: {text!r} is not a coordinate in mm.")
    return value


def _with_markups_moved(text: str, source: Path, move: Callable[[np.ndarray], np.ndarray]) -> str:
    """Move the points in the text of markups, see `with_points_moved`.

    Measurements are removed; 3D Slicer computes them again.

    Raises:
        InputError: if it holds no points, or other markups; names the file.
    """
    content = parse_json(text, source)
    try:
        for markup in content["markups"]:
            _check_markup(markup, source)
        pairs = [
            (point, markup.get("coordinateSystem", "LPS"))
            for markup in content["markups"]
            for point in markup["controlPoints"]
            if point.get("positionStatus") not in UNPLACED
        ]
        given = [point["position"] for point, _ in pairs]
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: not a 3D Slicer markups file, or a control point has no position.") from error
    if not given or not all(map(_is_position, given)):
        raise InputError(f"{source}: needs at least one control point, and three numbers for each position.")
    positions = np.array(given, dtype=np.float64)
    in_ras = np.array(
        [_in_space(position[None], space)[0] for position, (_, space) in zip(positions, pairs, strict=True)]
    )
    for (point, space), moved in zip(pairs, move(in_ras), strict=True):
        point["position"] = _in_space(moved[None], space)[0].tolist()
    for markup in content["markups"]:
        markup.pop("measurements", None)
    moved_text = json.dumps(content, indent=2, ensure_ascii=False)
    # Half of a surrogate pair in a label can be written only as JSON's \\u.
    return moved_text if _LONE_SURROGATE.search(moved_text) is None else json.dumps(content, indent=2)


def _is_position(value: Any) -> bool:
    """Return whether a value of JSON is a list of three finite numbers."""
    if not isinstance(value, list) or len(value) != 3 or not all(type(part) in (int, float) for part in value):
        return False
    return all(abs(part) <= sys.float_info.max for part in value)


def _check_markup(markup: dict[str, Any], source: Path) -> None:
    """Raise an InputError unless a markup consists only of points in mm, LPS or RAS."""
    kind, space, units = (
        markup.get(key, default)
        for key, default in (("type", "Fiducial"), ("coordinateSystem", "LPS"), ("coordinateUnits", "mm"))
    )
    if kind not in MARKUPS:
        raise InputError(
            f"{source}: holds a {kind}, which is not defined by points alone; supported are {', '.join(MARKUPS)}."
        )
    if space not in ("LPS", "RAS") or "mm" not in units:
        raise InputError(f"{source}: coordinates in {space}, {units}; supported are LPS and RAS, in mm.")


def _in_space(points: np.ndarray, space: str) -> np.ndarray:
    """Convert points (N, 3) from RAS to a space, or back."""
    return points @ RAS_TO_LPS if space == "LPS" else points
