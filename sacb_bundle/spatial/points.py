"""Points in world coordinates, from and to CSV and 3D Slicer's markups."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import whole_file
from .grid import RAS_TO_LPS
from .inverse import TOLERANCE, solve
from .transform import Transform, from_positions, to_positions

COORDINATES = ("x", "y", "z")


def warp_points(transform: Transform, points: np.ndarray) -> np.ndarray:
    """Carry points of the moving image over to the fixed image, as warping does with the image itself.

    The transform leads from fixed to moving, so that points take its inverse, solved for each of them.

    Args:
        transform: from fixed to moving.
        points: (N, 3), in mm, RAS.

    Returns:
        (N, 3), in mm, RAS.

    Raises:
        InputError: if for one of the points no place is found that the transform takes to it.
    """
    targets = to_positions(points, transform.device)
    places = solve(transform, targets)
    error = from_positions(transform(places) - targets)
    lost = np.flatnonzero(np.linalg.norm(error, axis=1) > max(0.1, TOLERANCE))
    if lost.size:
        where = ", ".join(f"{value:.4g}" for value in points[lost[0]])
        raise InputError(
            f"Point {lost[0] + 1} at ({where}) mm RAS has no counterpart that could be found in the fixed image: "
            "the transform folds around there."
        )
    return from_positions(places)


def rewrite_points(source: Path, target: Path, move: Callable[[np.ndarray], np.ndarray], space: str) -> None:
    """Read points, move them, and write the file again with all else it holds.

    Args:
        source: CSV with the columns x, y and z, or markups of 3D Slicer (.json).
        target: of the same kind.
        move: from points (N, 3) to points (N, 3), in mm, RAS.
        space: "LPS" or "RAS", what the coordinates of a CSV are in; markups say so themselves.

    Raises:
        InputError: if there is no such file, or it holds no points.
    """
    if not source.is_file():
        raise InputError(f"{source}: no such file.")
    if source.name.lower().endswith(".json"):
        rewrite_markups(source, target, move)
    else:
        rewrite_csv(source, target, move, space)


def rewrite_csv(source: Path, target: Path, move: Callable[[np.ndarray], np.ndarray], space: str) -> None:
    """`rewrite_points` of a CSV file."""
    with open(source, newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        columns, rows = list(reader.fieldnames or []), list(reader)
    missing = [name for name in COORDINATES if name not in columns]
    if missing or not rows:
        raise InputError(f"{source}: needs the columns x, y and z and at least one point; it has {columns}.")
    points = np.array([[number(row[name], source, line) for name in COORDINATES] for line, row in enumerate(rows, 2)])
    for row, point in zip(rows, in_space(move(in_space(points, space)), space), strict=True):
        row.update({name: f"{value:.6f}" for name, value in zip(COORDINATES, point, strict=True)})
    with whole_file(target) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def number(text: str | None, source: Path, line: int) -> float:
    """A coordinate."""
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise InputError(f"{source}, line {line}: {text!r} is not a coordinate in mm.")
    return value


def rewrite_markups(source: Path, target: Path, move: Callable[[np.ndarray], np.ndarray]) -> None:
    """`rewrite_points` of markups."""
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        lists = content["markups"]
        points = [point for markup in lists for point in markup["controlPoints"]]
        spaces = [markup.get("coordinateSystem", "LPS") for markup in lists for _ in markup["controlPoints"]]
        positions = np.array([point["position"] for point in points], dtype=np.float64).reshape(-1, 3)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source}: not a markups file of 3D Slicer with control points.") from error
    if not points or not set(spaces) <= {"LPS", "RAS"}:
        raise InputError(
            f"{source}: needs control points in LPS or RAS; it has {len(points)} in {sorted(set(spaces))}."
        )
    in_ras = np.array([in_space(point[None], space)[0] for point, space in zip(positions, spaces, strict=True)])
    for point, space, moved in zip(points, spaces, move(in_ras), strict=True):
        point["position"] = in_space(moved[None], space)[0].tolist()
    write_json(content, target)


def write_json(content: Any, target: Path) -> None:
    """Write JSON, whole or not at all."""
    with whole_file(target) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2), encoding="utf-8")


def in_space(points: np.ndarray, space: str) -> np.ndarray:
    """Points (N, 3) from RAS to a space, or back."""
    return points @ RAS_TO_LPS if space == "LPS" else points
