"""What the verbs write and print."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from tqdm import tqdm

from sacb_bundle.commands import main
from sacb_bundle.metrics import dice
from tests.commands.conftest import AFFINE, voxels


def test_register_writes_on_the_grid_of_the_fixed_image(scans: Path, registered: Path) -> None:
    assert sorted(path.name for path in registered.iterdir()) == [
        "case.json",
        "disp_fixed_moving.nii.gz",
        "initial.tfm",
        "picture.jpg",
        "transform.h5",
        "transform.nii.gz",
        "warped.nii.gz",
        "warped_labels.nii.gz",
    ]
    for name in ("warped", "warped_labels", "transform"):
        assert np.array_equal(nib.load(registered / f"{name}.nii.gz").affine, AFFINE)
    fixed = voxels(scans / "fixed_labels.nii.gz")
    moving = nib.as_closest_canonical(nib.load(scans / "moving_labels.nii.gz"))
    before = dice(fixed, np.asarray(moving.dataobj), range(1, 8))
    after = dice(fixed, voxels(registered / "warped_labels.nii.gz"), range(1, 8))
    assert np.mean(list(after.values())) > np.mean(list(before.values())) + 0.1


def test_register_prints_the_verdict(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--{role}={scans / role}.nii.gz" for role in ("fixed", "moving")]
    arguments += ["--output", str(tmp_path / "out"), "--device", "cpu", "--initial", "affine"]
    for spacing, expected in (("4", 4.0), ("auto", 2.0)):
        assert main(["register", *arguments, "--spacing", spacing]) == 0
        measures = json.loads((tmp_path / "out" / "case.json").read_text())["measures"]
        assert measures["spacing"] == expected
        assert measures["verdict"] == "good"
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("verdict")]
        assert line.split() == ["verdict", "good", "(trust", f"{measures['trust']:.2f})"]


def test_register_says_what_scores_of_label_maps_need(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"--{role}={study / 'images' / role}_0.nii.gz" for role in ("fixed", "moving")]
    arguments += ["--output", str(tmp_path / "out"), "--device", "cpu", "--initial", "none"]
    fixed, moving = (f"--{role}-labels={study / 'labels' / role}_0.nii.gz" for role in ("fixed", "moving"))
    for labels, missing in (((fixed,), True), ((moving,), True), ((fixed, moving), False), ((), False)):
        assert main(["register", *arguments, *labels]) == 0
        output = capsys.readouterr().out
        assert ("no scores of label maps: they need both --fixed-labels and --moving-labels" in output) == missing
        assert ("Dice" in output) == (len(labels) == 2)


def test_apply_gives_what_register_gave(scans: Path, registered: Path, tmp_path: Path) -> None:
    for transform in ("transform.nii.gz", "transform.h5"):
        arguments = ["--transform", str(registered / transform), "--reference", str(scans / "fixed.nii.gz")]
        arguments += ["--input", str(scans / "moving.nii.gz"), "--labels", str(scans / "moving_labels.nii.gz")]
        assert main(["apply", *arguments, "--output", str(tmp_path / transform), "--device", "cpu"]) == 0
        difference = voxels(tmp_path / transform / "moving.nii.gz").astype(int) - voxels(registered / "warped.nii.gz")
        assert np.abs(difference).max() <= 1
        same = voxels(tmp_path / transform / "moving_labels.nii.gz") == voxels(registered / "warped_labels.nii.gz")
        assert same.mean() > 0.999


def test_the_progress_of_apply_is_in_volumes(
    scans: Path, registered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[tqdm] = []

    def listed(**options: Any) -> tqdm:
        bars.append(tqdm(**options))
        return bars[-1]

    monkeypatch.setattr("sacb_bundle.commands.apply_transform.tqdm", listed)
    image = nib.load(scans / "moving.nii.gz")
    nib.save(nib.Nifti1Image(np.stack([voxels(scans / "moving.nii.gz")] * 2, -1), image.affine), tmp_path / "two.nii")
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "fixed.nii.gz")]
    arguments += ["--input", str(tmp_path / "two.nii"), "--labels", str(scans / "moving_labels.nii.gz")]
    assert main(["apply", *arguments, "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert [(bar.n, bar.total, bar.unit) for bar in bars] == [(3, 3, "volume")]


def test_a_label_that_the_reference_does_not_show_is_none(scans: Path, registered: Path, tmp_path: Path) -> None:
    lesion = np.zeros(nib.load(scans / "moving.nii.gz").shape, np.uint8)
    lesion[1, 1, 1] = 1
    nib.save(nib.Nifti1Image(lesion, nib.load(scans / "moving.nii.gz").affine), tmp_path / "lesion.nii.gz")
    nib.load(scans / "fixed.nii.gz").slicer[12:36, 16:48, 12:36].to_filename(tmp_path / "part.nii.gz")
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(tmp_path / "part.nii.gz")]
    arguments += ["--labels", str(tmp_path / "lesion.nii.gz"), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["apply", *arguments]) == 0
    assert not voxels(tmp_path / "out" / "lesion.nii.gz").any()


def test_points_go_where_the_image_goes(scans: Path, registered: Path, tmp_path: Path) -> None:
    """Warp the innermost point of a label into the warped label (the wrong direction would be 100 mm off)."""
    image = nib.load(scans / "moving_labels.nii.gz")
    labels = np.asarray(image.dataobj)
    depths = {label: distance_transform_edt(labels == label) for label in range(1, 8)}
    inside = [np.unravel_index(depth.argmax(), depth.shape) for depth in depths.values()]
    points = nib.affines.apply_affine(image.affine, inside)
    (tmp_path / "points.csv").write_text("x,y,z\n" + "\n".join(f"{x},{y},{z}" for x, y, z in points))
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "fixed.nii.gz")]
    arguments += ["--points", str(tmp_path / "points.csv"), "--points-space", "RAS", "--device", "cpu"]
    assert main(["apply", *arguments, "--output", str(tmp_path / "out")]) == 0
    with open(tmp_path / "out" / "points.csv", encoding="utf-8") as stream:
        moved = [[float(row[name]) for name in "xyz"] for row in csv.DictReader(stream)]
    warped = voxels(registered / "warped_labels.nii.gz")
    indices = np.round(nib.affines.apply_affine(np.linalg.inv(AFFINE), moved)).astype(int)
    assert [warped[tuple(index)] for index in indices] == list(depths)


def test_invert_reports_its_error(
    scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--transform", str(registered / "transform.nii.gz"), "--reference", str(scans / "moving.nii.gz")]
    assert main(["invert", *arguments, "--output", str(tmp_path / "inverse.nii.gz"), "--device", "cpu"]) == 0
    assert "Error of the inverse: mean 0." in capsys.readouterr().out
    error = voxels(tmp_path / "inverse_error.nii.gz")
    assert error.shape == (48, 64, 48)
    assert (error == -1).mean() < 0.2
    assert error[error != -1].min() >= 0
    assert error[error != -1].mean() < 0.2
    assert voxels(tmp_path / "inverse.nii.gz").shape == (*nib.load(scans / "moving.nii.gz").shape, 1, 3)


def test_scores_are_in_millimetres(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Score two boxes of 2 mm voxels, shifted by one, and a field in mm without folding."""
    for name, start in (("fixed", 4), ("warped", 5)):
        labels = np.zeros((16, 16, 16), np.uint8)
        labels[start : start + 6, 4:10, 4:10] = 1
        nib.save(nib.Nifti1Image(labels, AFFINE), tmp_path / f"{name}.nii.gz")
    arguments = ["--fixed-labels", str(tmp_path / "fixed.nii.gz"), "--warped-labels", str(tmp_path / "warped.nii.gz")]
    field = np.zeros((16, 16, 16, 1, 3), np.float32)
    field[..., 0] = 1.5 * np.arange(16)[:, None, None, None]  # in LPS mm: shrinks by 0.75 voxels per voxel
    image = nib.Nifti1Image(field, AFFINE)
    image.header.set_intent("vector")
    nib.save(image, tmp_path / "field.nii.gz")
    assert main(["evaluate", *arguments, "--transform", str(tmp_path / "field.nii.gz")]) == 0
    output = capsys.readouterr().out
    assert "hd95                2.0000 mm" in output
    assert "folding             0.0000 %" in output
    field *= 1.5
    nib.save(image.__class__(field, AFFINE, image.header), tmp_path / "field.nii.gz")
    assert main(["evaluate", *arguments, "--transform", str(tmp_path / "field.nii.gz")]) == 0
    assert "folding             100.0000 %" in capsys.readouterr().out


def test_evaluate(scans: Path, registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [f"--fixed-labels={scans / 'fixed_labels.nii.gz'}", "--output", str(tmp_path / "scores.csv")]
    arguments += [f"--warped-labels={registered / 'warped_labels.nii.gz'}"]
    assert main(["evaluate", *arguments, "--transform", str(registered / "transform.nii.gz")]) == 0
    output = capsys.readouterr().out
    for name in ("dice", "hd95", "assd", "folding"):
        assert name in output
    with open(tmp_path / "scores.csv", encoding="utf-8") as stream:
        scores = {int(row["label"]): float(row["dice"]) for row in csv.DictReader(stream)}
    expected = dice(voxels(scans / "fixed_labels.nii.gz"), voxels(registered / "warped_labels.nii.gz"), range(1, 8))
    assert scores == pytest.approx(expected)
