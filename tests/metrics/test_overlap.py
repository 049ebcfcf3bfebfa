import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric
from monai.networks.utils import one_hot

from sacb_bundle.metrics import dice

from .label_maps import moved, regions, voxels

LABELS = (0, 1, 2, 3, 4, 5)


def _monai_dice(first: np.ndarray, second: np.ndarray) -> dict[int, float]:
    channels = [one_hot(torch.from_numpy(label_map)[None, None], len(LABELS)) for label_map in (first, second)]
    scores = DiceMetric(reduction="none")(*channels)[0]
    return dict(zip(LABELS, scores.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("offset", [(0, 0, 0), (1, 0, 0), (2, -1, 3)])
def test_agrees_with_monai(seed: int, offset: tuple[int, int, int]) -> None:
    first = regions(seed, LABELS)
    second = moved(first, offset)
    assert dice(first, second, LABELS) == pytest.approx(_monai_dice(first, second), abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(voxels((0, 0, 0)), voxels((0, 0, 0)), {1: 1.0}, id="identical"),
        pytest.param(voxels((0, 0, 0)), voxels((0, 0, 1)), {1: 0.0}, id="apart"),
        pytest.param(voxels((0, 0, 0)), voxels((0, 0, 0), (0, 0, 1)), {1: 2 / 3}, id="partly"),
        pytest.param(voxels((0, 0, 0)), voxels((0, 0, 0), label=2), {}, id="missing from either"),
        pytest.param(voxels((0, 0, 0), label=3), voxels((0, 0, 0), label=3), {}, id="not asked for"),
    ],
)
def test_small_cases(first: np.ndarray, second: np.ndarray, expected: dict[int, float]) -> None:
    assert dice(first, second, (1, 2)) == pytest.approx(expected)


def test_labels_may_be_any_integers_in_any_order() -> None:
    names = np.array([-7, 3, 4, 1000, 2**40, 17])
    first = regions(0, LABELS)
    second = moved(first, (1, 1, 0))
    plain = dice(first, second, LABELS)
    renamed = dice(names[first], names[second], [17, 1000, -7, -7, 4, 2**40, 3, 5])
    assert list(renamed) == sorted(names.tolist())
    assert renamed == {int(names[label]): score for label, score in plain.items()}


def test_no_labels_give_no_scores() -> None:
    assert dice(voxels((0, 0, 0)), voxels((0, 0, 0)), ()) == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_same_on_the_gpu() -> None:
    first = torch.from_numpy(regions(0, LABELS))
    second = torch.from_numpy(regions(1, LABELS))
    assert dice(first.cuda(), second.cuda(), LABELS) == dice(first, second, LABELS)
