"""The parts of the benchmarks of difficult inputs and of trust that need no real scans."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle import InputError
from sacb_bundle.data import phantom_pair
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.spatial import DisplacementField, Grid, Transform, Volume, read_image, read_label_map, read_transform
from tests.conftest import write
from tests.engine.workflows import ROOT

NAN = float("nan")


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that registers difficult inputs; the others are imported alike."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("benchmark_robustness")


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    files = {}
    for role, (image, labels) in phantom_pair((32, 32, 32)).items():
        for name, values in ((role, image), (f"{role}_labels", labels)):
            files[name] = write(tmp_path / "data" / f"{name}.nii.gz", np.asarray(values, np.uint8))
    return files | {"other": files["fixed"]}


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        ({}, {"dice": 0.585, "verdict": "good"}, "correct"),
        ({}, {"dice": 0.7, "verdict": "doubtful"}, "false alarm"),
        ({}, {"dice": 0.4, "verdict": "failed"}, "flagged"),
        ({}, {"dice": 0.4, "verdict": "good", "flags": ("CT onto MR",)}, "flagged"),
        ({}, {"dice": 0.585, "verdict": "good", "flags": ("CT onto MR",)}, "correct"),
        ({}, {"dice": 0.4, "verdict": "good"}, "silent failure"),
        ({}, {"dice": NAN, "verdict": "good"}, "silent failure"),
        ({}, {"error": "moving.nii.gz: is a folder"}, "silent failure"),
        ({"refusal": "is a folder"}, {"error": "moving.nii.gz: is a folder"}, "refused"),
        ({"refusal": "is a folder"}, {"error": "Traceback: is a folder", "crashed": True}, "silent failure"),
        ({"refusal": "is a folder"}, {"error": "damaged"}, "silent failure"),
        ({"refusal": "is a folder"}, {"dice": 0.6, "verdict": "good"}, "silent failure"),
        ({"wrong": True}, {"dice": 0.6, "verdict": "good"}, "silent failure"),
        ({"wrong": True}, {"dice": 0.6, "verdict": "good", "flags": ("CT onto MR",)}, "silent failure"),
        ({"wrong": True}, {"dice": 0.6, "verdict": "doubtful"}, "flagged"),
        ({"wrong": True}, {"error": "the foregrounds of the images do not overlap."}, "refused"),
    ],
)
def test_what_the_program_did_is_judged(
    scripts: ModuleType, kind: dict[str, object], answer: dict[str, object], outcome: str
) -> None:
    made = scripts.Kind("kind", scripts.turned, **kind)
    assert scripts.judge(made, scripts.Answer(**{"reference": 0.6} | answer)) == outcome


def test_outcomes_are_counted_by_kind(scripts: ModuleType) -> None:
    table = scripts.table_of({"a": Counter({"correct": 2, "flagged": 1}), "b": Counter({"refused": 1})})
    assert table.splitlines()[2:] == [
        "| a | 3 | 2 |  | 1 |  |  |",
        "| b | 1 |  | 1 |  |  |  |",
        "| all | 4 | 2 | 1 | 1 |  |  |",
    ]


def test_turns_that_end_elsewhere_are_counted(scripts: ModuleType) -> None:
    untouched = (0.6, "good", 2.0)
    rows = [((0.595, "good", 3.0), untouched), ((0.3, "good", 4.0), untouched), ((0.3, "failed", 8.0), untouched)]
    assert scripts.turns_row("brains", rows) == "| brains | 3 | 1 | 1 | 1 | 2.00 times |"


def test_every_kind_is_built_and_refused_for_its_reason(
    scripts: ModuleType, inputs: dict[str, Path], tmp_path: Path
) -> None:
    for number, kind in enumerate(scripts.KINDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        files = dict(kind.build(inputs, folder, np.random.default_rng(number)))
        roles = ("fixed", "moving", "fixed_labels", "moving_labels", "moving_mask")
        if not kind.refusal:
            as_pair({role: files[role] for role in roles if role in files})
            continue
        read, source = (read_transform, files["transform"]) if "transform" in files else (as_pair, files)
        with pytest.raises(InputError, match=kind.refusal):
            read(source)  # type: ignore[operator]


def test_a_turned_header_keeps_voxels_and_middle_within_the_shift(
    scripts: ModuleType, inputs: dict[str, Path], tmp_path: Path
) -> None:
    files = scripts.turned(inputs, tmp_path, np.random.default_rng(3), 90.0)
    before, after = (read_image(files_of["moving"]) for files_of in (inputs, files))
    assert np.array_equal(before.values, after.values)
    matrix = after.grid.affine @ np.linalg.inv(before.grid.affine)
    assert np.degrees(np.arccos((np.trace(matrix[:3, :3]) - 1) / 2)) == pytest.approx(90, abs=0.01)
    assert 0 < np.linalg.norm((after.grid.corners - before.grid.corners).mean(axis=0)) <= 80
    assert np.allclose(read_label_map(files["moving_labels"]).grid.affine, after.grid.affine)


def test_dice_is_the_mean_over_labels_in_both_maps(scripts: ModuleType) -> None:
    values = np.zeros((4, 4, 4), np.int32)
    values[0], values[1], values[3] = 1, 2, 3
    fixed, moving = Volume(values, Grid(values.shape, np.eye(4))), np.where(values == 3, 0, values)
    shifted = Transform(displacement=DisplacementField.from_voxels(_shift(1), fixed.grid))
    assert scripts.mean_dice(Transform(), fixed, Volume(moving, fixed.grid)) == 1
    assert scripts.mean_dice(shifted, fixed, Volume(moving, fixed.grid)) == 0
    assert np.isnan(scripts.mean_dice(Transform(), fixed, Volume(values * 0, fixed.grid)))


def _shift(voxels: float) -> object:
    torch = importlib.import_module("torch")
    field = torch.zeros(3, 4, 4, 4)
    field[0] = voxels
    return field


def test_shuffled_blocks_hold_the_same_voxels(scripts: ModuleType, inputs: dict[str, Path], tmp_path: Path) -> None:
    trust = importlib.import_module("benchmark_trust")
    files = trust.shuffled(inputs, tmp_path, np.random.default_rng(0))
    before, after = (np.asanyarray(nib.load(files_of["moving"]).dataobj) for files_of in (inputs, files))
    assert not np.array_equal(before, after)
    assert np.array_equal(np.sort(before, axis=None), np.sort(after, axis=None))


def test_false_alarms_and_misses_are_counted(scripts: ModuleType) -> None:
    trust = importlib.import_module("benchmark_trust")
    answers = [("right: a", "good"), ("right: a", "doubtful"), ("wrong: b", "failed"), ("wrong: b", "good")]
    assert trust.table_of(answers).splitlines()[2:] == [
        "| right: a | 2 | 1 | 1 |  |  | 50.0% |",
        "| wrong: b | 2 | 1 |  | 1 |  | 50.0% |",
        "| all right | 2 | 1 | 1 |  |  | 50.0% |",
        "| all wrong | 2 | 1 |  | 1 |  | 50.0% |",
    ]
