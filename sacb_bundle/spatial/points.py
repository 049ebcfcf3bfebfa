"""Points in world coordinates, and their files: CSV and 3D Slicer markups."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
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


def warp_points(transform: Transform, points: np.ndarray) -> np.ndarray:
    """Map points from the moving image to the fixed image, in the direction in which images are warped.

    The transform maps fixed to moving coordinates, so its inverse is solved for each point.

    Args:
        transform: transform from fixed to moving.
        points: world coordinates (N, 3) in the moving image, in mm, RAS.

    Returns:
        World coordinates (N, 3) in the fixed image, in mm, RAS.

    Raises:
        InputError: if the transform maps no point to one of the points.
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
    if not source.is_file():
        raise InputError(f"{source}: no such file.")
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 text; points must be a CSV or 3D Slicer markups.") from error
    if source.name.lower().endswith(".json"):
        return _with_markups_moved(text, source, move)
    return _with_rows_moved(text, source, move, space)


def _with_rows_moved(text: str, source: Path, move: Callable[[np.ndarray], np.ndarray], space: str) -> str:
    """Move the points in the text of a CSV file, see `with_points_moved`.

    Raises:
        InputError: if it holds no points; names the file.
    """
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = list(reader.fieldnames or [])
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{source}: not a table (CSV): {error}.") from error
    if [columns.count(name) for name in COORDINATES] != [1, 1, 1] or not rows:
        raise InputError(f"{source}: needs the columns x, y and z and at least one point; it has {columns}.")
    for line, row in rows:
        if None in row:
            raise InputError(f"{source}, line {line}: has more values than there are columns: {columns}.")
    points = np.array([[number(row[name], source, line) for name in COORDINATES] for line, row in rows])
    for (_, row), point in zip(rows, _in_space(move(_in_space(points, space)), space), strict=True):
        row.update({name: f"{value:.6f}" for name, value in zip(COORDINATES, point, strict=True)})
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, lineterminator="\r\n" if "\r\n" in text else "\n")
    writer.writeheader()
    writer.writerows(row for _, row in rows)
    return table.getvalue()


def number(text: str | None, source: Path, line: int) -> float:
    """Parse a coordinate.

    Args:
        text: cell of the table; None if the row is too short.
        source: path of the file, for the error message.
        line: number of the line in the file, for the error message.

    Returns:
        The coordinate, in mm.

    Raises:
        InputError: if it is not a finite number; names the file and the line.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{source}, line {line}: {text!r} is not a coordinate in mm.")
    return value


def _with_markups_moved(text: str, source: Path, move: Callable[[np.ndarray], np.ndarray]) -> str:
    """Move the points in the text of markups, see `with_points_moved`.

    Measurements are removed; 3D Slicer computes them again.

    Raises:
        InputError: if it holds no points, or other markups; names the file.
    """
    try:
        content = json.loads(text)
        for markup in content["markups"]:
            _check_markup(markup, source)
        pairs = [
            (point, markup.get("coordinateSystem", "LPS"))
            for markup in content["markups"]
            for point in markup["controlPoints"]
            if point.get("positionStatus") not in UNPLACED
        ]
        positions = np.array([point["position"] for point, _ in pairs], dtype=np.float64)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: not a 3D Slicer markups file, or a control point has no position.") from error
    if positions.shape != (max(1, len(pairs)), 3) or not np.isfinite(positions).all():
        raise InputError(f"{source}: needs at least one control point, and three numbers for each position.")
    in_ras = np.array(
        [_in_space(position[None], space)[0] for position, (_, space) in zip(positions, pairs, strict=True)]
    )
    for (point, space), moved in zip(pairs, move(in_ras), strict=True):
        point["position"] = _in_space(moved[None], space)[0].tolist()
    for markup in content["markups"]:
        markup.pop("measurements", None)
    return json.dumps(content, indent=2, ensure_ascii=False)


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
