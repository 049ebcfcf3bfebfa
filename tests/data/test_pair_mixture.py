"""Pairs of several data sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.transforms import Compose, CopyItemsd, RandShiftIntensityd

from sacb_bundle.data import EpochSampler, PairMixture, check_mixture, read_datasets
from sacb_bundle.errors import InputError
from tests.conftest import write

SIZES = {"few": (2, 4), "many": (4, 6)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two data sets: two and four training subjects, and two validation subjects, of 4 and 6 voxels along each axis.

    Without a split, the last fifth, at least two, is for validation.
    """
    root = tmp_path_factory.mktemp("sets")
    for name, (number, size) in SIZES.items():
        for subject in range(number + 2):
            write(root / name / "images" / f"{subject}.nii.gz", np.full((size,) * 3, subject, np.int16))
    return [root / name for name in SIZES]


def load(subject: dict[str, str]) -> dict[str, torch.Tensor]:
    """Make an image of the size of its data set, filled with the number of the subject."""
    path = Path(subject["image"])
    size = SIZES[path.parent.parent.name][1]
    return {"image": torch.full((1, size, size, size), float(path.name.partition(".")[0]))}


def test_both_images_of_a_pair_are_of_one_data_set(folders: list[Path]) -> None:
    data = read_datasets(folders)
    assert (len(data.train), len(data.val), len(data.test)) == (6, 4, 0)
    mixture = PairMixture(data.train, load)
    pairs = [
        (pair["image"].shape[1], *pair["image"][:, 0, 0, 0].int().tolist())
        for pair in map(mixture.__getitem__, range(len(mixture)))
    ]
    assert pairs == [
        (4, 0, 1), (4, 1, 0),
        *((6, moving, fixed) for moving in range(4) for fixed in range(4) if moving != fixed),
    ]  # fmt: skip
    assert [mixture.item(number)["image"].mean().item() for number in range(6)] == [0, 1, 0, 1, 2, 3]
    assert len(mixture.loaded) == 6
    with pytest.raises(IndexError):
        mixture.item(6)
    with pytest.raises(IndexError):
        mixture[14]


def test_a_random_sample_has_the_shares(folders: list[Path]) -> None:
    mixture = PairMixture(read_datasets(folders).train, load, shares=[3, 1])
    assert len(mixture) == 4 * 12
    sampler = EpochSampler(mixture, seed=0, samples_per_epoch=400)
    assert len(sampler) == 48
    sizes = Counter(mixture[index]["image"].shape[1] for index in sampler)
    assert sizes == {4: 36, 6: 12}
    seen = {tuple(mixture[index]["image"][:, 0, 0, 0].tolist()) for index in range(36)}
    assert seen == {(0, 1), (1, 0)}


@pytest.mark.parametrize("shares", [[1], [1, 0], [1, 1.5], [1, 2, 3]])
def test_shares_that_fit_no_data_sets_are_refused(folders: list[Path], shares: list) -> None:
    with pytest.raises(InputError, match="it must be a list of 2 whole numbers above 0, one for each data set"):
        PairMixture(read_datasets(folders).train, load, shares=shares)


def test_images_of_a_data_set_share_a_grid(folders: list[Path], tmp_path: Path) -> None:
    for subject in range(4):
        write(tmp_path / "odd" / "images" / f"{subject}.nii.gz", np.zeros((4 + subject, 4, 4), np.int16))
    with pytest.raises(InputError, match=r"1\.nii\.gz and .*0\.nii\.gz do not share a grid"):
        PairMixture(read_datasets([*folders, tmp_path / "odd"]).train, load)


def test_the_loss_may_compare_images_from_before_a_change(folders: list[Path]) -> None:
    names = ["moving_target", "fixed_target"]
    changes = Compose(
        [CopyItemsd(["moving", "fixed"], names=names), RandShiftIntensityd(["moving"], offsets=(5, 5), prob=1)]
    )
    pair = PairMixture(read_datasets(folders).train, load, augmentation=changes)[0]
    assert pair["target"][:, 0, 0, 0].tolist() == [0, 1]
    assert pair["image"][:, 0, 0, 0].tolist() == [5, 1]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("batch_size", 2, 1), ("mirror", True, False), ("data_list", "a.csv", "''"), ("initial", "affine", "'none'")],
)
def test_what_only_one_data_set_allows_is_refused(
    folders: list[Path], name: str, value: object, wanted: object
) -> None:
    train = read_datasets(folders).train
    allowed = {"batch_size": 1, "mirror": False, "data_list": "", "initial": "none"}
    check_mixture(train, **allowed)
    with pytest.raises(InputError, match=f"{name} is .*; for several data sets, it must be {wanted}"):
        check_mixture(train, **allowed | {name: value})
    with pytest.raises(InputError, match="Several data sets cannot have masks"):
        check_mixture([*train, {"image": "a", "mask": "b"}], **allowed)
