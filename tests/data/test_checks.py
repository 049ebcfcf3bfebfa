from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from sacb_bundle.data import check_labels, check_training_items, has_labels, label_values
from sacb_bundle.errors import InputError
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.transforms import PrepareSubjectd
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


def prepare_subject(subject: dict[str, str], others: Sequence[dict[str, str]] = ()) -> dict:
    """Read a training subject, alone or among others."""
    prepare = PrepareSubjectd(others, others, initial="none", spacing_mm=2.0, size_divisor=16, cache_dir="nowhere")
    return prepare(subject)


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
    for read, data in ((prepare_subject, {"image": str(bad)}), (as_pair, {"moving": str(bad), "fixed": str(good)})):
        with pytest.raises(InputError, match=message) as error:
            read(data)
        assert str(bad) in str(error.value)


def test_trailing_axes_of_length_one_are_fine(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a.nii", IMAGE), write(tmp_path / "b.nii", IMAGE[..., None])
    pair = as_pair({"moving": str(first), "fixed": str(second)})
    assert pair.fixed.values.shape == pair.moving.values.shape == (6, 7, 8)


def test_a_mask_of_fractions_is_compared_with_a_half(tmp_path: Path) -> None:
    image = str(write(tmp_path / "a.nii", IMAGE))
    soft = np.linspace(0, 1, IMAGE.size, dtype=np.float32).reshape(IMAGE.shape)
    pair = as_pair({"moving": image, "fixed": image, "fixed_mask": str(write(tmp_path / "soft.nii", soft))})
    assert pair.fixed_mask is not None
    assert np.array_equal(pair.fixed_mask.values, soft >= 0.5)


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
        (as_pair, ({"moving": fixed, "fixed": fixed, "moving_labels": labels},)),
        (as_pair, ({"moving": fixed, "fixed": fixed, "fixed_mask": labels},)),
        (prepare_subject, ({"image": fixed, "label": labels},)),
    ):
        with pytest.raises(InputError, match="resample one onto the other"):
            check(*data)
    with pytest.raises(InputError, match="do not share a grid, as they must without an alignment"):
        prepare_subject({"image": fixed}, [{"image": fixed}, {"image": other}])


def test_labels_and_items_that_cannot_be_used(tmp_path: Path) -> None:
    image = str(write(tmp_path / "image.nii.gz", IMAGE))
    fractions = str(write(tmp_path / "labels.nii.gz", IMAGE / 2))
    with pytest.raises(InputError, match="a label map holds whole numbers"):
        prepare_subject({"image": image, "label": fractions})
    large = str(write(tmp_path / "large.nii.gz", np.full((6, 7, 8), 614454277, np.int32)))
    with pytest.raises(InputError, match="is too large; labels go up to 16777216"):
        prepare_subject({"image": image, "label": large})
    for items, number in (([], 0), ([{"image": image}], 1)):
        with pytest.raises(InputError, match=f"{number} subjects? to train on"):
            check_training_items(items, 1)
    check_training_items([{"moving": image, "fixed": image}], 1)
    with pytest.raises(InputError, match="batch_size is 2; it must be 1 for pairs"):
        check_training_items([{"moving": image, "fixed": image}], 2)
    labelled = {"moving": image, "fixed": image, "moving_labels": image, "fixed_labels": image}
    assert has_labels([labelled, {"image": image, "label": image}])
    assert not has_labels([labelled, {"moving": image, "fixed": image, "moving_labels": image}])
    assert not has_labels([])


def test_label_values(study: Path) -> None:
    labels = [str(path) for path in sorted((study / "labels").iterdir())]
    assert label_values([{"label": labels[0]}]) == [1, 2, 3, 4, 5, 6, 7]
    assert label_values([{"fixed_labels": labels[0], "moving_labels": "not looked at"}]) == [1, 2, 3, 4, 5, 6, 7]


def test_labels_that_occur_nowhere_are_refused(study: Path) -> None:
    subjects = [{"label": str(next((study / "labels").iterdir()))}]
    check_labels([7, 77], subjects)
    with pytest.raises(InputError, match=r"labels is \[77\], but the label maps hold only \[1, 2, 3, 4, 5, 6, 7\]"):
        check_labels([77], subjects)
