from __future__ import annotations

import json
from pathlib import Path

import pytest

from sacb_bundle.data import list_pairs, pair_indices, study_pairs
from sacb_bundle.errors import InputError


@pytest.mark.parametrize(
    ("pairing", "expected"),
    [
        ("ordered", [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]),
        ("consecutive", [(0, 1), (1, 2), (2, 0)]),
        ("atlas", [(0, 1), (0, 2)]),
    ],
)
def test_pairings(pairing: str, expected: list[tuple[int, int]]) -> None:
    assert pair_indices(3, pairing) == expected


def test_unknown_pairing_is_named() -> None:
    with pytest.raises(InputError, match="pairing is 'random'"):
        pair_indices(3, "random")


def test_pairs_of_a_data_set(study: Path) -> None:
    pairs = list_pairs(str(study))
    assert [pair["id"] for pair in pairs] == ["moving_1_to_moving_2", "moving_2_to_moving_1"]
    assert pairs[0] == {
        "id": "moving_1_to_moving_2",
        "moving": str(study / "images" / "moving_1.nii.gz"),
        "fixed": str(study / "images" / "moving_2.nii.gz"),
        "moving_labels": str(study / "labels" / "moving_1.nii.gz"),
        "fixed_labels": str(study / "labels" / "moving_2.nii.gz"),
    }


def test_masks_of_subjects_are_those_of_the_pair(tmp_path: Path) -> None:
    for name in ("images/a", "images/b", "masks/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.nii.gz").touch()
    mask = str(tmp_path / "masks" / "b.nii.gz")
    for pairs in (list_pairs(str(tmp_path)), study_pairs(tmp_path, "", "ordered", None)):
        assert [pair.get("fixed_mask") for pair in pairs] == [mask, None]
        assert [pair.get("moving_mask") for pair in pairs] == [None, mask]


def test_ambiguous_pair_names_of_a_data_set_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b_to_c", "a_to_b", "c"):
        (tmp_path / "images" / f"{name}.nii.gz").touch()
    names = ["a", "b_to_c", "a_to_b", "c"]
    (tmp_path / "dataset.json").write_text(json.dumps({"split": {"train": names, "val": names}}))
    with pytest.raises(InputError, match="two pairs have the ids 'a_to_b_to_c' and"):
        list_pairs(str(tmp_path))
