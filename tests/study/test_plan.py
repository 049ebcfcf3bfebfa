from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.study import Planner
from sacb_bundle.study.plan import duration
from tests.conftest import write


def planner(
    spacing: float | str = 2.0, initial: str = "none", device: str = "cpu", refine: int = 0, jobs: int = 1
) -> Planner:
    return Planner(
        spacing=spacing,
        trained_spacing_mm=2.0,
        trained_body_mm=(120.0, 120.0),
        initial=initial,
        device=device,
        refine=refine,
        jobs=jobs,
    )


@pytest.fixture
def pairs(tmp_path: Path) -> list[dict[str, str]]:
    large = str(write(tmp_path / "large.nii.gz", np.zeros((20, 20, 20), np.uint8)))
    small = str(write(tmp_path / "small.nii", np.zeros((10, 10, 10), np.uint8)))
    flat = str(write(tmp_path / "flat.nii.gz", np.zeros((10, 10), np.uint8)))
    (tmp_path / "empty.nii.gz").touch()
    return [
        {"id": "whole", "fixed": large, "moving": small, "fixed_labels": large, "moving_labels": small},
        {"id": "no labels", "fixed": small, "moving": large, "fixed_labels": small},
        {"id": "other grid", "fixed": large, "moving": small, "moving_labels": large},
        {"id": "mask", "fixed": large, "moving": small, "fixed_mask": small},
        {"id": "flat", "fixed": large, "moving": flat},
        {"id": "empty", "fixed": str(tmp_path / "empty.nii.gz"), "moving": small},
        {"id": "missing", "fixed": large, "moving": str(tmp_path / "gone.nii.gz")},
    ]


def test_problems_are_found_by_headers(pairs: list[dict[str, str]]) -> None:
    plan = planner().plan(pairs)
    assert plan.pairs == 7
    assert plan.sizes == {"20x20x20": 1, "10x10x10": 1}
    assert plan.without_labels == 6
    assert list(plan.problems) == ["other grid", "mask", "flat", "empty", "missing"]
    for case, words in (
        ("other grid", "Both must be on the same grid"), ("mask", "small.nii has 10x10x10"), ("flat", "one 3-D volume"),
        ("empty", "not a NIfTI file"), ("missing", "no such file"),
    ):  # fmt: skip
        assert words in plan.problems[case]


def test_more_takes_longer(pairs: list[dict[str, str]]) -> None:
    def seconds(number: int = 1, initial: str = "none", jobs: int = 1, device: str = "cpu") -> float:
        return planner(initial=initial, device=device, jobs=jobs).plan(pairs[:1] * number).seconds

    assert seconds(10) == pytest.approx(10 * seconds())
    assert seconds(initial="affine") > seconds()
    assert seconds(2, "affine", 1, "cuda") > seconds(2, "affine", 2, "cuda")


def test_refinement_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores take 3 s for ten steps of a brain at 2 mm; a GPU takes 0.4 s for 50, beside the other work."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    image = str(write(tmp_path / "image.nii.gz", np.zeros((80, 96, 80), np.uint8)))
    pairs = [{"id": str(number), "fixed": image, "moving": image} for number in range(10)]

    def seconds(device: str, refine: int) -> float:
        return planner(device=device, refine=refine).plan(pairs).seconds / len(pairs)

    assert seconds("cpu", 10) - seconds("cpu", 0) == pytest.approx(3, rel=0.05)
    assert seconds("cuda", 10) == seconds("cuda", 0)
    assert seconds("cuda", 500) == pytest.approx(3.7, rel=0.05)


def test_a_grid_that_cannot_be_held_is_a_problem(tmp_path: Path) -> None:
    """Micrometres that are read as millimetres."""
    image = str(write(tmp_path / "image.nii.gz", np.ones((80, 96, 80), np.uint8), np.diag([2000.0, 2000, 2000, 1])))
    pair = {"id": "large", "fixed": image, "moving": image}
    assert "GB of memory" in planner(spacing=2.0).plan([pair]).problems["large"]
    assert planner(spacing="auto").plan([pair]).problems == {}


def test_a_long_list_of_problems_is_cut(tmp_path: Path) -> None:
    missing = [{"id": str(number), "fixed": "/gone.nii", "moving": "/gone.nii"} for number in range(30)]
    text = str(planner().plan(missing))
    assert text.count("no such file") == 10
    assert "and 20 more" in text


@pytest.mark.parametrize(("seconds", "text"), [(0.1, "1 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
