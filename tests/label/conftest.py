from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.data import phantom_pair
from tests.conftest import write

# These tests run in a separate environment: make test-label.
if find_spec("monailabel") is None:
    collect_ignore_glob = ["test_*.py"]


def oblique(axes: np.ndarray, spacing: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Return the affine of an image with these axes, rotated about the last axis of the world."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes @ np.diag(spacing)
    affine[:3, 3] = (-40, -60, 12)
    return affine


# Name: shape of the phantom along (R, A, S), order of its axes in the file, affine.
GEOMETRIES = {
    "ras": ((80, 96, 80), (0, 1, 2), np.diag([2.0, 2.0, 2.0, 1.0])),
    "lps": ((96, 112, 40), (0, 1, 2), np.diag([-1.6, -1.6, 4.0, 1.0])),
    "pir": ((72, 100, 64), (1, 2, 0), oblique(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (1.9, 2.4, 2.2), 12)),
    "asl": ((80, 80, 72), (1, 2, 0), oblique(np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]]), (2.3, 2.2, 1.9), -17)),
}


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make scans in four geometries, three of them labelled, and a damaged one."""
    folder = tmp_path_factory.mktemp("studies")
    for number, (name, (shape, axes, affine)) in enumerate(GEOMETRIES.items()):
        # Flip the phantom along axes of the file that point against R, A or S.
        signs = affine[:3, :3][list(axes), range(3)]
        image, labels = (
            np.flip(values.transpose(axes), [axis for axis in range(3) if signs[axis] < 0])
            for values in phantom_pair(shape, seed=number + 5)["fixed"]
        )
        write(folder / f"{name}.nii.gz", image, affine)
        if name != "asl":
            write(folder / "labels" / "final" / f"{name}.nii.gz", labels, affine)
    damaged = write(folder / "damaged.nii.gz", image, affine)
    damaged.write_bytes(damaged.read_bytes()[:-5000])
    return folder


@pytest.fixture(scope="session")
def server(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """Start a server with the shipped atlas."""
    from tests.label.server import running_server

    with running_server(tmp_path_factory.mktemp("app"), studies) as running:
        yield running
