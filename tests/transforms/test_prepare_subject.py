from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sacb_bundle.data import Template, common_grid, phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.metrics import dice
from sacb_bundle.spatial import Grid, Volume, alignment_cache
from sacb_bundle.transforms import PrepareSubjectd
from tests.conftest import write

TURNED = np.array([[0, 0, 2.5, -60], [0, 2, 0, 7], [2, 0, 0, 0], [0, 0, 0, 1.0]])


def subject(folder: Path, name: str, affine: np.ndarray | None, axes: tuple[int, ...] = (0, 1, 2)) -> dict[str, str]:
    image, labels = phantom_pair((48, 64, 48), amplitude=0.5)["fixed"]
    return {
        "image": str(write(folder / f"{name}.nii.gz", image.transpose(axes), affine)),
        "label": str(write(folder / f"{name}_labels.nii.gz", labels.transpose(axes), affine)),
    }


def prepared(subjects: list[dict[str, str]], initial: str, cache_dir: Path) -> tuple[PrepareSubjectd, list[dict]]:
    transform = PrepareSubjectd(
        subjects, subjects, initial=initial, spacing_mm=2.0, size_divisor=16, cache_dir=cache_dir
    )
    return transform, [transform(paths) for paths in subjects]


def test_subjects_of_one_grid_stay_as_they_are(tmp_path: Path) -> None:
    first, second = (subject(tmp_path, name, None) for name in "ab")
    transform, results = prepared([first, second], "none", tmp_path / "aligned")
    image, labels = phantom_pair((48, 64, 48), amplitude=0.5)["fixed"]
    assert np.array_equal(results[1]["image"][0], image)
    assert np.array_equal(results[1]["label"][0], labels)
    assert transform.spacing_mm == 2.0
    assert not (tmp_path / "aligned").exists()


def test_axes_of_a_shared_grid_come_closest_to_ras(tmp_path: Path) -> None:
    image, _ = phantom_pair((48, 64, 48), amplitude=0.5)["fixed"]
    affine = np.array([[0, 0, -3.0, 60], [0, 3, 0, 7], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    paths = {"image": str(write(tmp_path / "a.nii.gz", image.transpose(2, 1, 0)[:, :, ::-1], affine))}
    transform, (result,) = prepared([paths], "none", tmp_path)
    assert np.array_equal(result["image"][0], image)
    assert transform.spacing_mm == pytest.approx(3.0)


def test_another_geometry_comes_to_the_grid_of_the_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED, (2, 1, 0))
    caplog.set_level("INFO")
    _, results = prepared([first, second], "affine", tmp_path / "aligned")
    moved = r"b\.nii\.gz: shift \d+\.\d mm, rotation \d+\.\d degrees, scale 1\.0"
    assert any(re.search(moved, message) for message in caplog.messages)
    for result in results:
        assert result["image"].shape == result["label"].shape == (1, 48, 64, 48)
    # The same phantom, stretched by a quarter along one axis in its file; the affine alignment undoes this.
    scores = dice(results[0]["label"][0].int(), results[1]["label"][0].int(), range(1, 8))
    assert min(scores.values()) > 0.85


def test_all_subjects_are_aligned_to_their_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, too, whose shape the others would follow."""
    subjects = [subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED, (2, 1, 0))]
    aligned = []
    align = alignment_cache.align
    monkeypatch.setattr(alignment_cache, "align", lambda *given: aligned.append(given) or align(*given))
    prepared(subjects, "affine", tmp_path / "aligned")
    first, mean = aligned[0][0], aligned[-1][0]
    assert [np.array_equal(fixed.values, mean.values) for fixed, *_ in aligned] == [False, True, True]
    # Both are the same phantom, so that the mean shows it, too, with intensities from 0 to 1.
    assert np.corrcoef(first.values.ravel(), mean.values.ravel())[0, 1] > 0.95
    assert (mean.values.min(), mean.values.max()) == pytest.approx((0, 1), abs=0.1)


def test_the_mean_is_that_of_the_chosen_subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each and not too many; a single one is taken as it is."""
    subjects = [subject(tmp_path, name, TURNED if name == "b" else None) for name in "abcd"]
    averaged: list[str] = []
    mean = Template.mean

    def note(template: Template, images: Iterable[tuple[Volume, str]], grid: Grid) -> Volume:
        given = list(images)
        averaged.extend(name for _, name in given)
        return mean(template, given, grid)

    monkeypatch.setattr(Template, "mean", note)
    monkeypatch.setattr(common_grid, "MOST_AVERAGED", 2)
    settings: dict = {"initial": "center", "spacing_mm": 2.0, "size_divisor": 16, "cache_dir": tmp_path / "aligned"}
    for chosen, names in (([2, 2, 1, 0], "cb"), ([0, 1], "ab"), ([3], "")):
        transform = PrepareSubjectd(subjects, [subjects[number] for number in chosen], **settings)
        assert not averaged  # nothing is aligned before it is needed
        for paths in subjects:
            transform(paths)
        assert [Path(path).name[0] for path in averaged] == list(names)
        averaged.clear()


def test_a_stranger_among_subjects_that_are_aligned(tmp_path: Path) -> None:
    subjects = [subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED)]
    with pytest.raises(InputError, match=r"b\.nii\.gz and .*a\.nii\.gz do not share a grid, as they must"):
        prepared(subjects, "none", tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spacing_mm": 0}, "spacing is 0; it must be a number of mm from 0.01 to 100"),
        ({"spacing_mm": -1.0}, "spacing is -1.0; it must be"),
        ({"spacing_mm": float("nan")}, "spacing is nan; it must be"),
        ({"spacing_mm": "2"}, "spacing is '2'; it must be"),
        ({"initial": "auto"}, "initial is 'auto'; it must be one of none, center, rigid, affine"),
        ({"modality": "pet"}, "modality is 'pet'; it must be one of auto, mr, ct"),
    ],
)
def test_wrong_settings_are_refused_on_any_grid(change: dict, message: str, tmp_path: Path) -> None:
    settings: dict = {"initial": "affine", "spacing_mm": 2.0, "size_divisor": 16, "cache_dir": tmp_path}
    with pytest.raises(InputError, match=message):
        PrepareSubjectd([], [], **settings | change)


def test_a_shared_grid_that_the_weights_could_not_be_used_on_is_refused(tmp_path: Path) -> None:
    paths = subject(tmp_path, "a", np.diag([0.001, 0.002, 0.004, 1]))
    with pytest.raises(InputError, match=r"a\.nii\.gz: the mean spacing is 0\.00\d+; it must be a number of mm from"):
        prepared([paths, paths], "none", tmp_path)


def test_alignments_are_kept_until_what_they_depend_on_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subjects = [subject(tmp_path, "a", None), subject(tmp_path, "b", TURNED, (2, 1, 0))]
    aligned = []
    align = alignment_cache.align
    monkeypatch.setattr(alignment_cache, "align", lambda *given: aligned.append(given) or align(*given))
    _, first = prepared(subjects, "center", tmp_path / "aligned")
    assert len(aligned) == 3
    _, again = prepared(subjects, "center", tmp_path / "aligned")
    assert len(aligned) == 3
    for before, now in zip(first, again, strict=True):
        assert torch.equal(before["image"], now["image"])
        assert torch.equal(before["label"], now["label"])

    next((tmp_path / "aligned").iterdir()).write_bytes(b"damaged")
    prepared(subjects, "center", tmp_path / "aligned")
    assert len(aligned) == 4
    prepared(subjects, "rigid", tmp_path / "aligned")
    assert len(aligned) == 7
    image = np.asarray(nib.load(subjects[1]["image"]).dataobj)
    write(Path(subjects[1]["image"]), image[::-1], TURNED)
    prepared(subjects, "rigid", tmp_path / "aligned")
    assert len(aligned) == 10  # the mean is another one, too
