from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sacb_bundle.data import atlas_pairs, labels_to_score, pairs_by_name, read_dataset, study_pairs
from sacb_bundle.errors import InputError


def ids(*arguments: object) -> list[str]:
    return [pair["id"] for pair in study_pairs(*arguments)]  # type: ignore[arg-type]


@pytest.fixture
def data_set(study: Path, tmp_path: Path) -> Path:
    shutil.copytree(study, tmp_path / "set")
    return tmp_path / "set"


@pytest.mark.parametrize("name", ["x" * 300, "circle", "a\0b", "a\ud800b"])
def test_folders_that_cannot_be_are_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    folder = tmp_path / name
    for read in (read_dataset, lambda path: pairs_by_name(path, path), lambda path: atlas_pairs(tmp_path, None, path)):
        with pytest.raises(InputError, match=r"there is no (such )?folder"):
            read(folder)
    assert labels_to_score(folder) is None


def test_all_scans_are_registered_and_labels_of_dataset_json_scored(data_set: Path) -> None:
    pairs = study_pairs(data_set, "", "ordered", None)
    assert len(pairs) == 30
    assert labels_to_score(data_set) is None
    assert all({"fixed_labels", "moving_labels"} <= pair.keys() for pair in pairs)
    assert ids(data_set, "", "consecutive", None)[0] == "fixed_0_to_fixed_1"
    assert ids(data_set, "", "atlas", "moving_1")[:2] == ["moving_1_to_fixed_0", "moving_1_to_fixed_1"]
    split = {"train": ["fixed_0", "moving_0"], "val": ["fixed_1", "fixed_2"]}
    (data_set / "dataset.json").write_text(json.dumps({"split": split, "eval_labels": [3, 1]}))
    assert len(study_pairs(data_set, "", "ordered", None)) == 30
    assert labels_to_score(data_set) == [1, 3]
    assert labels_to_score(data_set, "pairs.csv") is None


def test_a_flat_folder_and_a_list(data_set: Path) -> None:
    assert len(ids(data_set / "images", "", "ordered", None)) == 30
    (data_set / "pairs.csv").write_text("fixed,moving,id\nimages/fixed_0.nii.gz,images/fixed_1.nii.gz,x\n")
    assert ids("not looked at", data_set / "pairs.csv", "ordered", None) == ["x"]


@pytest.mark.parametrize(
    ("names", "atlas", "message"),
    [
        ([], None, "holds no scan"),
        (["a.nii.gz"], None, "holds one scan"),
        (["a.nii.gz", "a.mha"], None, "have the same name"),
        (["a.nii.gz", "b.mha"], "c", "has no scan c"),
    ],
)
def test_folders_that_give_no_pairs(names: list[str], atlas: str | None, message: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=message):
        study_pairs(tmp_path, "", "ordered", atlas)


def test_no_folder() -> None:
    with pytest.raises(InputError, match=r"dataset_dir: there is no folder .*; set --dataset_dir"):
        study_pairs("/nowhere", "", "ordered", None)
