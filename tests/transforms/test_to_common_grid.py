from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from monai.transforms import Compose, LoadImaged, Orientationd

from sacb_bundle.data import phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.metrics import dice
from sacb_bundle.transforms import ToCommonGridd
from tests.conftest import write

TURNED = np.array([[0, 0, 2.5, -60], [0, 2, 0, 7], [2, 0, 0, 0], [0, 0, 0, 1.0]])


def subject(folder: Path, name: str, affine: np.ndarray | None, axes: tuple[int, ...] = (0, 1, 2)) -> dict[str, str]:
    image, labels = phantom_pair((48, 64, 48), amplitude=0.5)["fixed"]
    return {
        "image": str(write(folder / f"{name}.nii.gz", image.transpose(axes), affine)),
        "label": str(write(folder / f"{name}_labels.nii.gz", labels.transpose(axes), affine)),
    }


def loaded(transform: ToCommonGridd, paths: dict[str, str]) -> dict:
    load = LoadImaged(("image", "label"), reader="NibabelReader", ensure_channel_first=True)
    return Compose([load, Orientationd(("image", "label"), "RAS", labels=None), transform])(paths)


def test_subjects_of_one_grid_stay_as_they_are(tmp_path: Path) -> None:
    first, second = (subject(tmp_path, name, None) for name in "ab")
    transform = ToCommonGridd([first, second], "none", 2.0)
    image, _ = phantom_pair((48, 64, 48), amplitude=0.5)["fixed"]
    assert np.array_equal(loaded(transform, second)["image"][0], image)


def test_another_geometry_comes_to_the_grid_of_the_first(tmp_path: Path) -> None:
    first, second = subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED, (2, 1, 0))
    transform = ToCommonGridd([first, second], "affine", 2.0)
    results = [loaded(transform, paths) for paths in (first, second)]
    for result in results:
        assert result["image"].shape == result["label"].shape == (1, *transform.grid.shape)
        assert np.allclose(result["image"].affine, transform.grid.affine)
    # The same phantom, stretched by a quarter along one axis in its file: the affine alignment undoes that.
    scores = dice(results[0]["label"][0].int(), results[1]["label"][0].int(), range(1, 8))
    assert min(scores.values()) > 0.85


def test_a_stranger_among_subjects_that_are_aligned(tmp_path: Path) -> None:
    subjects = [subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED)]
    with pytest.raises(InputError, match=r"b\.nii\.gz has .* resample one onto the other"):
        ToCommonGridd(subjects, "none", 2.0)
