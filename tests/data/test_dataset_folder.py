from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from sacb_bundle.data import has_labels, labels_to_score, read_dataset, training_data
from sacb_bundle.data.dataset_folder import files_by_name
from sacb_bundle.errors import InputError


def folder(
    root: Path,
    images: list[str],
    labels: Sequence[str] = (),
    description: dict | None = None,
    masks: Sequence[str] = (),
) -> Path:
    (root / "images").mkdir(parents=True)
    for kind, files in (("images", images), ("labels", labels), ("masks", masks)):
        for name in files:
            (root / kind).mkdir(exist_ok=True)
            (root / kind / name).touch()
    if description is not None:
        (root / "dataset.json").write_text(json.dumps(description))
    return root


def names(subjects: list[dict[str, str]]) -> list[str]:
    return [Path(subject["image"]).name for subject in subjects]


@pytest.mark.parametrize(("count", "num_train", "num_val"), [(2, 2, 2), (3, 3, 3), (4, 2, 2), (10, 8, 2), (20, 16, 4)])
def test_default_split(count: int, num_train: int, num_val: int, tmp_path: Path) -> None:
    dataset = read_dataset(folder(tmp_path / "set", [f"s{number:02}.nii.gz" for number in range(count)]))
    assert (len(dataset.train), len(dataset.val)) == (num_train, num_val)
    assert count < 4 or not set(names(dataset.train)) & set(names(dataset.val))


def test_description_names_subjects_and_labels(tmp_path: Path) -> None:
    description = {"split": {"train": ["a", "b"], "val": ["d", "c"]}, "eval_labels": [5, 3], "labels": {"1": "x"}}
    files = [f"{name}.nii.gz" for name in "abcde"]
    root = folder(tmp_path / "set", files, files[2:4], description)
    dataset = read_dataset(root)
    assert names(dataset.train) == ["a.nii.gz", "b.nii.gz"]
    assert names(dataset.val) == ["d.nii.gz", "c.nii.gz"]
    assert labels_to_score(root) == [3, 5]
    assert has_labels(dataset.val)
    assert not has_labels([])
    assert "label" not in dataset.train[0]


def test_training_takes_label_maps_if_they_are_asked_for_and_masks_always(tmp_path: Path) -> None:
    files = [f"{name}.nii.gz" for name in "abcd"]
    root = folder(tmp_path / "set", files, labels=files, masks=files[:1])
    subject = {key: str(root / kind / "a.nii.gz") for key, kind in (("image", "images"), ("mask", "masks"))}
    assert training_data(str(root)).train[0] == subject
    labelled = training_data(str(root), with_labels=True).train
    assert labelled[0] == subject | {"label": str(root / "labels" / "a.nii.gz")}
    assert "mask" not in labelled[1]
    assert has_labels(training_data(str(root)).val)
    rows = [f"images/{file},images/{file},labels/{file},labels/{file},masks/a.nii.gz" for file in files]
    (root / "pairs.csv").write_text("\n".join(["fixed,moving,fixed_labels,moving_labels,moving_mask", *rows]))
    kept = {"id", "moving", "fixed", "moving_mask"}
    assert training_data("", str(root / "pairs.csv")).train[0].keys() == kept
    labelled = training_data("", str(root / "pairs.csv"), with_labels=True).train
    assert labelled[0].keys() == kept | {"fixed_labels", "moving_labels"}


def test_labels_from_names_without_background(tmp_path: Path) -> None:
    description = {"labels": {"0": "background", "2": "b", "1": "a"}}
    assert labels_to_score(folder(tmp_path / "set", ["a.nii", "b.nii"], description=description)) == [1, 2]


@pytest.mark.parametrize("description", [{"labels": {"liver": "one"}}, {"eval_labels": "12"}, {"eval_labels": [1.7]}])
def test_labels_that_are_no_numbers(description: dict, tmp_path: Path) -> None:
    root = folder(tmp_path / "set", ["a.nii", "b.nii"], description=description)
    with pytest.raises(InputError, match=r"dataset\.json.*must be whole numbers"):
        labels_to_score(root)


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        ({"0": "background", "2": "liver"}, [2]),
        ({"background": 0, "liver": 2, "spleen": 1}, [1, 2]),
        ({"0": {"0": "background", "1": "anterior", "2": "posterior"}}, [1, 2]),
        ([1, 2], [1, 2]),
        ({}, None),
        (["background", "liver"], "whole numbers"),
        ({"liver": [1, 2]}, "whole numbers"),
        ({"9" * 5000: "x"}, "whole numbers"),
        (float("nan"), "whole numbers"),
    ],
)
def test_labels_as_data_sets_name_them(labels: object, values: list[int] | str | None, tmp_path: Path) -> None:
    root = folder(tmp_path / "set", ["a.nii", "b.nii"], description={"labels": labels})
    if isinstance(values, str):
        with pytest.raises(InputError, match=values):
            labels_to_score(root)
    else:
        assert labels_to_score(root) == values


def test_atlas_comes_first(tmp_path: Path) -> None:
    dataset = read_dataset(folder(tmp_path / "set", [f"{name}.nii.gz" for name in "abcdefz"]), atlas="z")
    assert names(dataset.train) == [f"{name}.nii.gz" for name in "zabcd"]
    assert names(dataset.val) == [f"{name}.nii.gz" for name in "zef"]


def test_test_subjects_are_kept_from_training_and_validation(tmp_path: Path) -> None:
    split = {"train": ["a", "b"], "val": ["c", "d"], "test": ["f", "e"]}
    files = [f"{name}.nii.gz" for name in "abcdefz"]
    root = folder(tmp_path / "set", files, files[4:5], {"split": split})
    dataset = read_dataset(root)
    assert names(dataset.test) == ["f.nii.gz", "e.nii.gz"]
    assert dataset.test[1]["label"] == str(root / "labels" / "e.nii.gz")
    training = training_data(str(root))
    assert names(training.train + training.val) == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert names(read_dataset(root, atlas="z").test) == ["z.nii.gz", "f.nii.gz", "e.nii.gz"]
    (root / "dataset.json").write_text(json.dumps({"split": split | {"test": []}}))
    assert read_dataset(root, atlas="z").test == []


def test_one_missing_label_means_no_labels(tmp_path: Path) -> None:
    assert not has_labels(read_dataset(folder(tmp_path / "set", ["a.nii.gz", "b.nii.gz"], ["a.nii.gz"])).val)


@pytest.mark.parametrize(
    ("images", "description", "message"),
    [
        ([], None, r"images: holds no image \(\.nii, "),
        (["a.nii.gz"], None, "1 subject to train on; pairs need at least two"),
        (
            ["a.nii.gz", "b.nii.gz"],
            {"split": {"train": ["a", "q"], "val": ["a", "b"]}},
            r"images: has no image q, though the data set names it",
        ),
        (["a.nii.gz", "b.nii.gz"], {"split": {"train": ["a", "b"], "val": ["b"]}}, "1 subject to validate on"),
        (["a.nii.gz", "b.nii.gz"], {"split": ["a"]}, r'dataset\.json: "split" must be an object'),
        (["a.nii.gz", "b.nii.gz"], {"split": {"train": ["a", "a"], "val": ["a", "b"]}}, "has a name twice"),
        (["a.nii.gz", "b.nii.gz"], {"split": {"train": [1, 2], "val": ["a", "b"]}}, "lists of names"),
        (["a.nii.gz", "b.nii.gz"], {"split": {"train": ["a", "b"], "val": ["a", "b"], "test": 3}}, "lists of names"),
        (
            ["a.nii.gz", "b.nii.gz"],
            {"split": {"train": ["a", "b"], "val": ["a", "b"], "test": ["b"]}},
            r'dataset\.json: b is in "test" and in another list of "split"',
        ),
        (["a.nii.gz", "a.nii"], None, r"a\.nii\.gz and .*a\.nii have the same name"),
        (["a.nii.gz", "b.nii.gz"], ["a"], r"dataset\.json: must hold a JSON object, not a list"),
    ],
)
def test_wrong_folder_is_named(images: list[str], description: dict | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        read_dataset(folder(tmp_path / "set", images, description=description))


@pytest.mark.parametrize("kind", ["labels", "masks"])
def test_a_label_map_or_mask_without_an_image_is_named(kind: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "set", ["a.nii.gz", "b.nii.gz"], **{kind: ["a_seg.nii.gz"]})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=rf"a_seg\.nii\.gz: there is no image of this name; {kind}/ must match"):
        read_dataset(root)


def test_missing_folders_and_broken_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset_dir: there is no folder"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(InputError, match="images/, which is missing"):
        read_dataset(tmp_path)
    root = folder(tmp_path / "set", ["a.nii.gz", "b.nii.gz"])
    (root / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset\.json: not valid JSON"):
        read_dataset(root)


def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be read: Not a directory"):
        files_by_name(tmp_path / "file")
