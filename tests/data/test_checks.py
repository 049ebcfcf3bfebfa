from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.data import check_labels, check_pairs, check_subjects, label_values
from sacb_bundle.errors import InputError
from sacb_bundle.transforms import ToCommonGridd
from tests.conftest import write

IMAGE = np.random.default_rng(0).integers(0, 255, (6, 7, 8)).astype(np.float32)


def with_value(value: float) -> np.ndarray:
    image = IMAGE.copy()
    image[1, 2, 3] = value
    return image


def cut_short(path: Path) -> None:
    write(path, np.random.default_rng(0).standard_normal((30, 30, 30)))
    path.write_bytes(path.read_bytes()[:5000])


def corrupted(path: Path) -> None:
    write(path, np.random.default_rng(0).standard_normal((30, 30, 30)))
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("hello"), "not a NIfTI file"),
        (lambda path: path.write_bytes(b""), "not a NIfTI file"),
        (cut_short, "damaged or cut short"),
        (corrupted, "damaged or cut short"),
        (lambda path: write(path, IMAGE[0]), r"has shape \(7, 8\); one 3-D volume is needed"),
        (lambda path: write(path, IMAGE[:1]), r"has shape \(1, 7, 8\); one 3-D volume is needed"),
        (lambda path: write(path, np.stack([IMAGE, IMAGE], -1)), r"has shape \(6, 7, 8, 2\)"),
        (lambda path: write(path, with_value(np.nan)), "1 voxels are NaN, infinite"),
        (lambda path: write(path, with_value(np.inf)), "1 voxels are NaN, infinite"),
        (lambda path: write(path, IMAGE.astype(np.complex64)), "voxels are of type complex64"),
        (
            lambda path: write(path, IMAGE, np.array([[2.0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])),
            "affine has no inverse",
        ),
        (lambda path: write(path, np.full((6, 7, 8), 4.0)), "every voxel is 4; a constant image"),
    ],
)
def test_bad_image_is_named(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    good, bad = write(tmp_path / "good.nii.gz", IMAGE), tmp_path / "bad.nii.gz"
    make(bad)
    for check, data in (
        (check_subjects, ([{"image": str(good)}, {"image": str(bad)}], [])),
        (check_pairs, ([{"moving": str(bad), "fixed": str(good)}],)),
    ):
        with pytest.raises(InputError, match=message) as error:
            check(*data)
        assert str(bad) in str(error.value)


def test_trailing_axes_of_length_one_are_fine(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.nii", IMAGE), write(tmp_path / "b.nii", IMAGE[..., None])
    check_pairs([{"moving": str(first), "fixed": str(second)}])


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((6, 7, 9), None),
        ((6, 7, 8), np.diag([2.0, 2.0, 2.1, 1.0])),
        ((6, 7, 8), np.array([[2.0, 0, 0, 1], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])),
    ],
)
def test_other_grid_is_refused(shape: tuple[int, ...], affine: np.ndarray | None, tmp_path: Path) -> None:
    fixed = str(write(tmp_path / "fixed.nii.gz", IMAGE))
    other = str(write(tmp_path / "other.nii.gz", np.random.default_rng(1).random(shape), affine))
    labels = str(write(tmp_path / "labels.nii.gz", np.ones(shape, np.uint8), affine))
    for check, data in (
        (check_pairs, ([{"moving": other, "fixed": fixed}],)),
        (check_pairs, ([{"moving": fixed, "fixed": fixed, "moving_labels": labels}],)),
        (check_subjects, ([{"image": fixed}, {"image": fixed}], [{"image": fixed, "label": labels}])),
        (ToCommonGridd, ([{"image": fixed}, {"image": other}], "none", 2.0)),
    ):
        with pytest.raises(InputError, match="resample one onto the other"):
            check(*data)


def test_fractional_labels_and_missing_labels(tmp_path: Path) -> None:
    image = str(write(tmp_path / "image.nii.gz", IMAGE))
    fractions = str(write(tmp_path / "labels.nii.gz", IMAGE / 2))
    with pytest.raises(InputError, match="a label map holds whole numbers"):
        check_subjects([{"image": image}] * 2, [{"image": image, "label": fractions}])
    large = str(write(tmp_path / "large.nii.gz", np.full((6, 7, 8), 614454277, np.int32)))
    with pytest.raises(InputError, match="is too large; labels go up to 16777216"):
        check_subjects([{"image": image}] * 2, [{"image": image, "label": large}])
    with pytest.raises(InputError, match="1 subject to train on"):
        check_subjects([{"image": image}], [{"image": image}])
    with pytest.raises(InputError, match="no moving_labels; scoring needs both"):
        check_pairs([{"moving": image, "fixed": image}], require_labels=True)


def test_label_values(study: Path) -> None:
    labels = [str(path) for path in sorted((study / "labels").iterdir())]
    assert label_values([{"label": labels[0]}]) == [1, 2, 3, 4, 5, 6, 7]
    assert label_values([{"fixed_labels": labels[0], "moving_labels": "not looked at"}]) == [1, 2, 3, 4, 5, 6, 7]


def test_labels_that_occur_nowhere_are_refused(study: Path) -> None:
    subjects = [{"label": str(next((study / "labels").iterdir()))}]
    check_labels([7, 77], subjects)
    with pytest.raises(InputError, match=r"labels is \[77\], but the label maps hold only \[1, 2, 3, 4, 5, 6, 7\]"):
        check_labels([77], subjects)
