import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from sacb_bundle.metrics import (
    folding_percentage,
    jacobian_determinant,
    non_diffeomorphic_volume,
    sd_log_jacobian,
)

SHAPE = (20, 9, 7)  # deeper than one slab of cubes
Field = np.ndarray


def _linear(matrix: list[list[float]]) -> Field:
    """Return the field whose transformation is v -> matrix @ v."""
    grid = np.indices(SHAPE, dtype=np.float64)
    return np.einsum("ij,jdhw->idhw", np.array(matrix) - np.eye(3), grid)


def _random(amplitude: float) -> Field:
    return amplitude * np.random.default_rng(0).standard_normal((3, *SHAPE))


def _zigzag(amplitude: float) -> Field:
    """Return a field that moves planes back and forth along the first axis: +a, -a, +a, ..."""
    field = np.zeros((3, 21, 6, 5))
    field[0] = amplitude * (-1.0) ** np.arange(21)[:, None, None]
    return field


def _checkerboard(amplitude: float) -> Field:
    return np.broadcast_to(amplitude * (-1.0) ** np.indices(SHAPE).sum(axis=0), (3, *SHAPE))


IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
SCALING = [[1.1, 0, 0], [0, 1.2, 0], [0, 0, 0.5]]
SHEAR = [[1, 0.7, -2], [0, 1, 0.4], [0, 0, 1]]
ROTATION = [[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]]
REFLECTION = [[1, 0, 0], [0, -1, 0], [0, 0, 1]]
INVERSION = [[-2, 0, 0], [0, -1, 0], [0, 0, -1]]
COLLAPSE = [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("matrix", "determinant", "folding", "ndv"),
    [
        pytest.param(IDENTITY, 1, 0, 0, id="identity"),
        pytest.param(SCALING, 0.66, 0, 0, id="scaling"),
        pytest.param(SHEAR, 1, 0, 0, id="shear"),
        pytest.param(ROTATION, 1, 0, 0, id="rotation"),
        pytest.param(REFLECTION, -1, 100, 100, id="reflection"),
        pytest.param(INVERSION, -2, 100, 200, id="inversion"),
        pytest.param(COLLAPSE, 0, 100, 0, id="collapse"),
    ],
)
def test_linear_transformations(matrix: list[list[float]], determinant: float, folding: float, ndv: float) -> None:
    field = _linear(matrix)
    np.testing.assert_allclose(jacobian_determinant(field), determinant, atol=1e-12)
    assert folding_percentage(field) == folding
    assert non_diffeomorphic_volume(field) == pytest.approx(ndv, abs=1e-9)
    assert sd_log_jacobian(field) == pytest.approx(0, abs=1e-9)


def test_determinant_is_that_of_numpys_gradient() -> None:
    field = _random(0.4)
    rows = [np.gradient(component) for component in field]
    matrices = np.moveaxis(np.array(rows), (0, 1), (-2, -1)) + np.eye(3)
    np.testing.assert_allclose(jacobian_determinant(field), np.linalg.det(matrices), atol=1e-12)


def test_folding_counts_the_voxels_that_are_not_positive() -> None:
    field = _random(0.6)
    determinant = np.asarray(jacobian_determinant(field))
    assert 0 < (determinant <= 0).mean() < 1
    assert folding_percentage(field) == pytest.approx(100 * (determinant <= 0).mean())


def test_sd_log_jacobian_floors_determinants() -> None:
    field = _random(0.6)
    determinant = np.asarray(jacobian_determinant(field))
    assert determinant.min() < 0
    assert sd_log_jacobian(field) == pytest.approx(np.log(np.maximum(determinant, 1e-9)).std())


def test_sd_log_jacobian_of_two_halves() -> None:
    stretch = np.where(np.arange(11) < 6, 0.0, np.arange(11) - 5.0)  # u: slope 0, then 1
    field = np.zeros((3, 11, 4, 4))
    field[0] = stretch[:, None, None]
    # Determinants along the first axis: five of 1, one of 1.5 in the middle, five of 2.
    logs = np.log([1.0] * 5 + [1.5] + [2.0] * 5)
    assert sd_log_jacobian(field) == pytest.approx(logs.std())


def _signed_volume(*corners: np.ndarray) -> float:
    return np.linalg.det(np.array(corners[1:]) - corners[0]) / 6


def _ndv_by_definition(field: Field) -> float:
    """Cut each cube into tetrahedra that are positive before the transformation, one cube at a time."""
    points = np.moveaxis(np.indices(field.shape[1:]) + field, 0, -1)
    corners = [np.array(corner) for corner in itertools.product((0, 1), repeat=3)]
    cuts = []
    for parity in (0, 1):
        tips = [corner for corner in corners if corner.sum() % 2 == parity]
        middle = [corner for corner in corners if corner.sum() % 2 != parity]
        cuts += [[tip, *(corner for corner in middle if abs(corner - tip).sum() == 1)] for tip in tips]
        cuts.append(middle)
    folded = 0.0
    cubes = list(itertools.product(*(range(size - 1) for size in field.shape[1:])))
    for cube, tetrahedron in itertools.product(cubes, cuts):
        before = _signed_volume(*tetrahedron)
        after = _signed_volume(*(points[tuple(cube + corner)] for corner in tetrahedron))
        folded += max(0.0, -after * math.copysign(1, before)) / 2
    return 100 * folded / len(cubes)


def test_ndv_is_the_sum_over_tetrahedra() -> None:
    field = _random(0.5)[:, :, :4, :4]
    expected = _ndv_by_definition(field)
    assert expected > 1
    assert non_diffeomorphic_volume(field) == pytest.approx(expected)


@pytest.mark.parametrize(("amplitude", "ndv"), [(0.4, 0), (0.5, 0), (0.75, 25), (1.5, 100)])
def test_ndv_sees_the_zigzag_that_central_differences_miss(amplitude: float, ndv: float) -> None:
    field = _zigzag(amplitude)
    assert (jacobian_determinant(field)[1:-1] == 1).all()
    # Every other layer of cubes has a thickness of 1 - 2 a.
    assert non_diffeomorphic_volume(field) == pytest.approx(ndv)


def test_ndv_sees_the_checkerboard_that_central_differences_miss() -> None:
    field = _checkerboard(0.6)
    assert (jacobian_determinant(field)[1:-1, 1:-1, 1:-1] == 1).all()
    assert non_diffeomorphic_volume(field) > 1


def test_small_smooth_field_does_not_fold() -> None:
    d, h, w = (math.pi * axis / size for axis, size in zip(np.indices(SHAPE), SHAPE, strict=True))
    field = 0.5 * np.stack([np.sin(d) * np.sin(h), np.sin(h) * np.cos(w), np.cos(d) * np.sin(w)])
    assert folding_percentage(field) == 0
    assert non_diffeomorphic_volume(field) == 0
    assert 0 < sd_log_jacobian(field) < 0.5


MEASURES = [folding_percentage, non_diffeomorphic_volume, sd_log_jacobian]


@pytest.mark.parametrize("measure", MEASURES)
def test_takes_a_networks_output(measure: Callable[[np.ndarray | torch.Tensor], float]) -> None:
    field = _random(0.6).astype(np.float32)
    assert measure(torch.from_numpy(field).requires_grad_()) == measure(field) > 0


@pytest.mark.parametrize("measure", MEASURES)
def test_leaves_the_field_as_it_was(measure: Callable[[np.ndarray | torch.Tensor], float]) -> None:
    field = torch.from_numpy(_random(0.6))
    before = field.clone()
    measure(field)
    assert torch.equal(field, before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("measure", MEASURES)
def test_same_on_the_gpu(measure: Callable[[np.ndarray | torch.Tensor], float]) -> None:
    field = torch.from_numpy(_random(0.6))
    assert measure(field.cuda()) == pytest.approx(measure(field))
