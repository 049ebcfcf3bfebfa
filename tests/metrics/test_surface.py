import numpy as np
import pytest
import torch
from monai.metrics import HausdorffDistanceMetric, SurfaceDistanceMetric
from monai.networks.utils import one_hot

from sacb_bundle.metrics import surface_distances

from .label_maps import SHAPE, moved, regions, voxels

LABELS = (0, 1, 2, 3, 4, 5)
SPACING_MM = (1.5, 0.8, 2.25)


def _box(*bounds: tuple[int, int], label: int = 1) -> np.ndarray:
    label_map = np.zeros(SHAPE, dtype=np.int64)
    label_map[tuple(slice(*bound) for bound in bounds)] = label
    return label_map


def _check_against_monai(first: np.ndarray, second: np.ndarray, spacing: tuple[float, float, float]) -> None:
    channels = [one_hot(torch.from_numpy(label_map)[None, None], len(LABELS)) for label_map in (first, second)]
    metrics = [
        HausdorffDistanceMetric(include_background=True, percentile=95, reduction="none"),
        SurfaceDistanceMetric(include_background=True, symmetric=True, reduction="none"),
    ]
    hd95, assd = (metric(*channels, spacing=spacing)[0].tolist() for metric in metrics)
    present = sorted(set(np.unique(first)) & set(np.unique(second)))
    scores = surface_distances(first, second, LABELS, spacing)
    assert list(scores) == present
    for label, score in scores.items():
        assert score.hd95 == pytest.approx(hd95[label], abs=1e-4)
        assert score.assd == pytest.approx(assd[label], abs=1e-4)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), SPACING_MM])
@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 0, 0), (2, -1, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_random_regions_agree_with_monai(
    seed: int, offset: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    first = regions(seed, LABELS)
    _check_against_monai(first, moved(first, offset), spacing)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(regions(0, LABELS), regions(1, LABELS), id="unrelated"),
        pytest.param(_box((0, 6), (0, 17), (5, 9)), _box((0, 4), (2, 17), (5, 20)), id="on the border"),
        pytest.param(_box((0, 14), (0, 17), (0, 20)), _box((3, 8), (4, 9), (5, 12)), id="whole image"),
        pytest.param(_box((2, 9), (3, 9), (4, 11)), _box((3, 8), (4, 8), (5, 10)), id="one inside the other"),
        pytest.param(voxels((0, 0, 0)), voxels((13, 16, 19)), id="one voxel, corner to corner"),
        pytest.param(voxels((5, 5, 5)), voxels((5, 5, 5)), id="one voxel, identical"),
        pytest.param(voxels((5, 5, 5)), _box((2, 9), (3, 9), (4, 11)), id="one voxel in a box"),
        pytest.param(regions(0, LABELS), regions(0, LABELS[:4]), id="labels missing from second"),
        pytest.param(regions(0, LABELS[2:]), regions(0, LABELS), id="labels missing from first"),
    ],
)
def test_special_cases_agree_with_monai(first: np.ndarray, second: np.ndarray) -> None:
    _check_against_monai(first, second, SPACING_MM)


def test_is_in_millimetres_along_each_axis() -> None:
    scores = surface_distances(voxels((3, 3, 3)), voxels((5, 4, 6)), (1,), SPACING_MM)
    expected = np.linalg.norm(np.multiply((2, 1, 3), SPACING_MM))
    assert scores[1] == pytest.approx((expected, expected))


def test_labels_may_be_any_integers() -> None:
    names = np.array([-7, 3, 4, 1000, 2**40, 17])
    first = regions(0, LABELS)
    second = moved(first, (1, 1, 0))
    plain = surface_distances(first, second, LABELS, SPACING_MM)
    renamed = surface_distances(names[first], names[second], names.tolist(), SPACING_MM)
    assert renamed == {int(names[label]): score for label, score in plain.items()}
