from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sacb_bundle.metrics import dice
from sacb_bundle.ops import warp
from sacb_bundle.registration.register import Registrar
from sacb_bundle.spatial import read_transform
from tests.conftest import write
from tests.engine.workflows import reason_of, workflow

PAIR = "moving_1_to_moving_2"


@pytest.fixture(scope="module")
def weights(model: Path) -> str:
    return str(model)


@pytest.fixture(scope="module")
def registered(study: Path, weights: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registered")
    workflow("inference", "oasis", data_list=pairs_of(study, folder), checkpoint=weights, output_dir=str(folder)).run()
    return folder


def pairs_of(study: Path, folder: Path) -> str:
    """Write a data list of a pair of the study in both directions."""
    names = ("moving_1", "moving_2")
    files = {
        name: (str(study / "images" / f"{name}.nii.gz"), str(study / "labels" / f"{name}.nii.gz")) for name in names
    }
    pairs = [
        dict(zip(("moving", "moving_labels", "fixed", "fixed_labels"), (*files[moving], *files[fixed]), strict=True))
        for moving, fixed in (names, names[::-1])
    ]
    (folder / "pairs.json").write_text(json.dumps(pairs))
    return str(folder / "pairs.json")


def off_middles(field: torch.Tensor) -> np.ndarray:
    """Return where a field (3, D, H, W), in voxels, avoids midpoints between voxels, which may round either way."""
    clear = ((field - field.floor() - 0.5).abs() > 0.01).all(dim=0).numpy()
    assert clear.mean() > 0.9
    return clear


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_inference_writes_what_the_field_says(study: Path, registered: Path) -> None:
    assert sorted(path.name for path in registered.iterdir() if path.is_dir()) == [PAIR, "moving_2_to_moving_1"]
    displacement = read_transform(registered / PAIR / "transform.nii.gz").displacement
    assert displacement is not None
    field = displacement.in_voxels_of(displacement.grid)[None]
    assert field.abs().max() > 1
    for source, result, mode in (("images", "warped", "bilinear"), ("labels", "warped_labels", "nearest")):
        moving = torch.from_numpy(voxels(study / source / "moving_1.nii.gz")).float()[None, None]
        saved = voxels(registered / PAIR / f"{result}.nii.gz")
        expected = warp(moving, field, mode)[0, 0].numpy()
        inside = (slice(4, -4),) * 3  # an image extends half a voxel beyond its outermost voxel centres
        clear = off_middles(field[0])[inside]
        # The image is rounded to integers, and the field in the file to a thousandth of a millimetre.
        if source == "images":
            np.testing.assert_allclose(saved[inside], expected[inside], atol=0.55)
        else:
            assert (saved == expected)[inside][clear].all()
        assert saved.dtype == np.uint8
    fixed = nib.load(study / "images" / "moving_2.nii.gz")
    assert np.array_equal(nib.load(registered / PAIR / "warped.nii.gz").affine, fixed.affine)


def test_inference_is_reproducible(study: Path, weights: str, registered: Path, tmp_path: Path) -> None:
    data_list = pairs_of(study, tmp_path)
    workflow("inference", "oasis", data_list=data_list, checkpoint=weights, output_dir=str(tmp_path)).run()
    for name in ("transform", "warped", "warped_labels"):
        first, second = (voxels(folder / PAIR / f"{name}.nii.gz") for folder in (registered, tmp_path))
        assert np.array_equal(first, second)


def test_inference_of_images_without_labels_and_of_any_size(weights: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        image = nib.Nifti1Image(generator.random((21, 30, 19)), np.diag([-1.0, 1, 1, 1]))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    (tmp_path / "pairs.json").write_text(json.dumps([{"moving": "a.nii.gz", "fixed": "b.nii.gz"}]))
    workflow(
        "inference",
        data_list=str(tmp_path / "pairs.json"),
        checkpoint=weights,
        output_dir=str(tmp_path / "out"),
        initial="none",
    ).run()
    names = sorted(path.name for path in (tmp_path / "out" / "a_to_b").iterdir())
    assert names == ["case.json", "initial.tfm", "picture.jpg", "transform.nii.gz", "warped.nii.gz"]
    assert voxels(tmp_path / "out" / "a_to_b" / "transform.nii.gz").shape == (21, 30, 19, 1, 3)


def test_evaluation_scores_what_inference_writes(study: Path, weights: str, registered: Path, tmp_path: Path) -> None:
    workflow("evaluate", "oasis", dataset_dir=str(study), checkpoint=weights, output_dir=str(tmp_path)).run()
    with open(tmp_path / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fixed = voxels(study / "labels" / "moving_2.nii.gz")
    moving = voxels(study / "labels" / "moving_1.nii.gz")
    warped = voxels(registered / PAIR / "warped_labels.nii.gz")
    labels = range(1, 8)
    before, after = dice(fixed, moving, labels), dice(fixed, warped, labels)
    scored = {int(row["label"]): row for row in rows if row["pair"] == PAIR}
    assert scored.keys() == before.keys()
    for label, row in scored.items():
        assert float(row["dice_before"]) == pytest.approx(before[label])
        assert float(row["dice_after"]) == pytest.approx(after.get(label, 0))

    summary = json.loads((tmp_path / "metrics.json").read_text())
    assert summary["pairs"] == 2
    of_pairs = [
        np.mean([float(row["dice_after"]) for row in rows if row["pair"] == pair])
        for pair in sorted({row["pair"] for row in rows})
    ]
    assert summary["dice_after"]["mean"] == pytest.approx(np.mean(of_pairs))
    assert summary["dice_after"]["std"] == pytest.approx(np.std(of_pairs, ddof=1))


def summary_of(study: Path, weights: str, folder: Path, spacing: tuple[float, ...], axes: str) -> dict:
    """Return the scores of a pair of the study, stored with a spacing along RAS and in an orientation."""
    folder.mkdir()
    to_axes = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    for kind, ending in (("images", ""), ("labels", "_labels")):
        for role, name in (("moving", "moving_1"), ("fixed", "moving_2")):
            image = nib.Nifti1Image(voxels(study / kind / f"{name}.nii.gz"), np.diag([*spacing, 1.0]))
            nib.save(image.as_reoriented(to_axes), folder / f"{role}{ending}.nii.gz")
    pair = {key: f"{key}.nii.gz" for key in ("moving", "fixed", "moving_labels", "fixed_labels")}
    (folder / "pairs.json").write_text(json.dumps([pair]))
    options = {"data_list": str(folder / "pairs.json"), "checkpoint": weights, "output_dir": str(folder)}
    workflow("evaluate", spacing=min(spacing), **options).run()
    return json.loads((folder / "metrics.json").read_text())


def test_spacing_scales_the_distances(study: Path, weights: str, tmp_path: Path) -> None:
    plain, scaled = (
        summary_of(study, weights, tmp_path / str(factor), (factor, factor, factor), "RAS") for factor in (1, 3)
    )
    for key in ("hd95_before", "hd95_after", "assd_before"):
        assert scaled[key]["mean"] == pytest.approx(3 * plain[key]["mean"])
    assert scaled["dice_after"] == plain["dice_after"]


@pytest.mark.parametrize("axes", ["LPS", "PIR", "ASL"])
def test_orientation_on_disk_changes_no_score(axes: str, study: Path, weights: str, tmp_path: Path) -> None:
    spacing = (1.0, 2.0, 4.0)
    in_ras, stored = (summary_of(study, weights, tmp_path / name, spacing, name) for name in ("RAS", axes))
    assert stored == in_ras


def test_evaluation_takes_any_grids_and_leaves_out_what_it_cannot_score(
    study: Path, weights: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Evaluation scores on the fixed image's grid, as `sacb register` does."""
    affine = np.array([[0, 0, 2.5, -30], [0, 2, 0, 7], [2, 0, 0, 0], [0, 0, 0, 1.0]])
    for kind in ("images", "labels"):
        values = voxels(study / kind / "moving_1.nii.gz")
        write(tmp_path / f"{kind}.nii.gz", np.ascontiguousarray(values.transpose(2, 1, 0)), affine)
    fixed = {
        "fixed": str(study / "images" / "moving_2.nii.gz"),
        "fixed_labels": str(study / "labels" / "moving_2.nii.gz"),
    }
    moving = {"moving": "images.nii.gz", "moving_labels": "labels.nii.gz"}
    pairs = [
        fixed | moving | {"id": "scored"},
        fixed | {"moving": "images.nii.gz", "id": "no labels"},
        fixed | moving | {"moving_labels": str(study / "labels" / "moving_1.nii.gz"), "id": "other grid"},
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs))
    options = {"data_list": str(tmp_path / "pairs.json"), "checkpoint": weights, "output_dir": str(tmp_path / "out")}
    workflow("evaluate", initial="center", **options).run()
    summary = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (summary["pairs"], set(summary["pairs_left_out"])) == (1, {"no labels", "other grid"})
    assert "no labels: left out: scoring needs both label maps" in caplog.text
    assert "other grid: left out: " in caplog.text
    files = {key: value if key.startswith("fixed") else tmp_path / value for key, value in (fixed | moving).items()}
    measures = Registrar(weights, device="cpu", initial="center")(**files).measures()
    for name in ("dice_before", "dice_after", "hd95_after", "assd_after"):
        assert summary[name]["mean"] == pytest.approx(measures[name])

    (tmp_path / "pairs.json").write_text(json.dumps(pairs[1:]))
    with pytest.raises(RuntimeError) as error:
        workflow("evaluate", initial="center", **options).run()
    assert "No pair could be scored; the first, no labels: scoring needs both" in str(reason_of(error.value))


@pytest.mark.parametrize("spacing", [0, -1, 1000, float("nan"), "fine"])
@pytest.mark.parametrize("of_pairs", [False, True])
def test_a_wrong_spacing_is_refused(spacing: object, of_pairs: bool, study: Path, weights: str, tmp_path: Path) -> None:
    data = {"data_list": pairs_of(study, tmp_path)} if of_pairs else {"dataset_dir": str(study)}
    with pytest.raises(RuntimeError) as error:
        workflow("evaluate", spacing=spacing, checkpoint=weights, output_dir=str(tmp_path / "out"), **data).run()
    assert str(reason_of(error.value)).startswith(
        f"spacing is {spacing!r}; it must be auto, or a number of mm from 0.01"
    )
    assert not (tmp_path / "out").exists()


def test_outside_the_masks_no_label_is_scored(study: Path, weights: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(study, root)
    for name, axis in (("moving_1", 0), ("moving_2", 2)):
        mask = np.ones((32, 32, 32), np.uint8)
        np.moveaxis(mask, axis, 0)[20:] = 0
        write(root / "masks" / f"{name}.nii.gz", mask)

    def scores(name: str) -> dict:
        data = {"dataset_dir": str(root), "output_dir": str(tmp_path / name)}
        workflow("evaluate", checkpoint=weights, **data).run()
        summary: dict = json.loads((tmp_path / name / "metrics.json").read_text())
        return summary

    within = scores("within")
    for name in ("moving_1", "moving_2"):
        labels = voxels(root / "labels" / f"{name}.nii.gz").copy()
        labels[voxels(root / "masks" / f"{name}.nii.gz") == 0] = 3
        write(root / "labels" / f"{name}.nii.gz", labels)
    assert scores("changed") == within
    shutil.rmtree(root / "masks")
    assert scores("everywhere")["dice_before"]["mean"] < within["dice_before"]["mean"] - 0.02


def test_scores_within_a_fixed_mask(study: Path, weights: str) -> None:
    files = {
        f"{role}{ending}": study / kind / f"{name}.nii.gz"
        for role, name in (("moving", "moving_1"), ("fixed", "moving_2"))
        for kind, ending in (("images", ""), ("labels", "_labels"))
    }
    mask = np.zeros((32, 32, 32), np.uint8)
    mask[:, :, :20] = 1
    given = nib.Nifti1Image(mask, nib.load(files["fixed"]).affine)
    result = Registrar(weights, device="cpu", initial="none", refine=0)(**files, fixed_mask=given)
    scored = result.label_scores()
    assert scored is not None
    fixed, moving = (mask * voxels(files[f"{role}_labels"]) for role in ("fixed", "moving"))
    warped = mask * np.asarray(result.warped_labels.dataobj)
    for maps, found in ((moving, "dice_before"), (warped, "dice_after")):
        expected = dice(fixed, maps, range(1, 8))
        assert {row.label: getattr(row, found) for row in scored.labels} == pytest.approx(expected)
