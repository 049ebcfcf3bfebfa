"""Each data set, in the form of its download: values, places in the world, labels and split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from sacb_bundle.data import labels_to_score, read_dataset
from sacb_bundle.datasets import ixi, lpba40
from sacb_bundle.datasets.prepared_folder import PreparedFolder
from sacb_bundle.errors import InputError
from sacb_bundle.metrics import dice
from sacb_bundle.spatial import alignment_cache, read_volume, volume_name
from tests.datasets import downloads
from tests.datasets.downloads import run, stored
from tests.engine.workflows import ROOT


def places_of(path: Path, label: int) -> np.ndarray:
    """The centre of a label in the world."""
    labels = read_volume(path)
    return labels.grid.to_world(np.argwhere(labels.values == label)).mean(axis=0)


def parts(out: Path) -> tuple[list[str], ...]:
    """The names of the training, validation and test subjects, as training reads them."""
    dataset = read_dataset(out)
    return tuple([volume_name(item["image"]) for item in items] for items in (dataset.train, dataset.val, dataset.test))


def test_pickles_of_ixi_keep_their_voxels_and_find_their_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = downloads.pickled_ixi(tmp_path / "raw")
    out = run("ixi", raw, tmp_path / "out", size=(20, 24, 28))
    assert caplog.messages == ["IXI: 2/2/2 subjects were found, not 403/58/115."]
    image, labels = (nib.load(out / folder / "subject_Test1.nii.gz") for folder in ("images", "labels"))
    assert nib.aff2axcodes(image.affine) == ("L", "I", "A")
    assert image.header.get_zooms() == (1, 1, 1)
    expected = np.ascontiguousarray(downloads.ixi_labels()[::-1, :, ::-1].transpose(0, 2, 1))
    np.testing.assert_array_equal(np.asarray(labels.dataobj), expected)
    texture = downloads.textured(downloads.ixi_labels(), 6)[::-1, :, ::-1].transpose(0, 2, 1)
    np.testing.assert_allclose(np.asarray(image.dataobj), texture, atol=1e-5)
    # Right white matter lies 5 mm to the right of the middle, and 6 above: between voxels 9 and 10 of 0 to 19.
    np.testing.assert_allclose(places_of(out / "labels" / "atlas.nii.gz", 21), (4.5, 0.5, 5.5))
    assert parts(out) == tuple([f"subject_{part}{number}" for number in (0, 1)] for part in ("Train", "Val", "Test"))
    assert Path(read_dataset(out, "atlas").test[0]["image"]).name == "atlas.nii.gz"
    overlay = json.loads((ROOT / "configs" / "datasets" / "ixi.json").read_text())
    assert labels_to_score(out) == overlay["labels"]


@pytest.mark.slow
def test_the_published_size_of_ixi_pads_around_the_centre(tmp_path: Path) -> None:
    out = run("ixi", downloads.pickled_ixi(tmp_path / "raw"), tmp_path / "out")
    labels = stored(out / "labels" / "atlas.nii.gz")
    assert labels.shape == (160, 192, 224)
    inner = labels[70:90, 84:108, 98:126]
    assert np.count_nonzero(labels) == np.count_nonzero(inner) == np.count_nonzero(downloads.ixi_labels())


@pytest.mark.usefixtures("by_shift")
def test_folders_of_freesurfer_are_aligned_to_the_atlas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = downloads.freesurfer_ixi(tmp_path / "raw")
    out = run("ixi", raw, tmp_path / "out", spacing_mm=2.0, size=(32, 32, 32))
    assert "IXI: 6 subjects were found, not 576 (403/58/115), so the split has the same shares." in caplog.messages
    assert parts(out) == (["IXI000", "IXI001"], ["IXI002", "IXI003"], ["IXI004", "IXI005"])
    atlas = stored(out / "labels" / "atlas.nii.gz")
    # Of FreeSurfer's 2, 3, 4, 43, 17, 53 and 47 the positions in its list; 1001 is not in it.
    assert np.unique(atlas).tolist() == [0, 1, 2, 3, 14, 23, 26, 31]
    for number in range(6):
        own = stored(out / "labels" / f"IXI00{number}.nii.gz")
        assert min(dice(atlas, own, [1, 2, 26]).values()) > 0.8
    alignment = np.array(json.loads((out / "prepared.json").read_text())["subjects"]["IXI003"]["alignment"])
    centre = np.array([31.0, 31, 31])
    np.testing.assert_allclose(alignment[:3, :3] @ centre + alignment[:3, 3], centre + np.array([12, -16, 20]), atol=2)


def test_templates_that_freesurfer_adds_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = downloads.freesurfer_ixi(tmp_path / "raw")
    for template in ("fsaverage", "fsaverage5"):
        (raw / template / "mri").mkdir(parents=True)
    (raw / "fsaverage" / "mri" / "norm.mgz").touch()
    with caplog.at_level("INFO"):
        found = ixi.find(raw)
    assert [subject.name for subject in found.subjects] == [*(f"IXI00{number}" for number in range(6)), "atlas"]
    assert "IXI: fsaverage, fsaverage5 left out; templates of FreeSurfer are not subjects." in caplog.messages


@pytest.mark.usefixtures("by_shift")
def test_analyze_files_of_lpba40_are_placed_by_their_labels(tmp_path: Path) -> None:
    out = run("lpba40", downloads.lpba(tmp_path / "raw"), tmp_path / "out", spacing_mm=1.5, size=(28, 32, 28))
    labels = out / "labels" / "S01.nii.gz"
    right, left, back = (places_of(labels, label) for label in (22, 21, 62))
    # 5 voxels of 1.5 mm to the right, 17 of 2 mm to the front, and 2 of 1.5 mm up.
    np.testing.assert_allclose(right - left, (7.5, 0, 0), atol=0.8)
    np.testing.assert_allclose(right - back, (0, 34, 3), atol=1)
    assert nib.aff2axcodes(nib.load(labels).affine) == ("R", "A", "S")
    np.testing.assert_allclose(places_of(out / "labels" / "S06.nii.gz", 22), right, atol=0.8)
    assert labels_to_score(out) == list(lpba40.EVAL_LABELS)
    assert len(lpba40.EVAL_LABELS) == 54


def test_files_of_lpba40_on_one_grid_are_only_cropped_and_padded(tmp_path: Path) -> None:
    raw = downloads.lpba(tmp_path / "raw" / "delineation_space", analyze=False).parent
    out = run("lpba40", raw, tmp_path / "out", size=(16, 32, 24))
    before = stored(raw / "delineation_space" / "S04" / "S04.delineation.skullstripped.nii.gz")
    after = stored(out / "images" / "S04.nii.gz")
    np.testing.assert_allclose(after[:, 2:30], before[2:18], atol=1e-5)
    assert after[:, :2].max() == after[:, 30:].max() == before.min()
    np.testing.assert_allclose(nib.load(out / "images" / "S04.nii.gz").affine[:3, 3], (2, -2, 0))


@pytest.mark.parametrize("name", ["AbdomenCTCT", "OASIS"])
def test_data_of_learn2reg_are_cropped(name: str, tmp_path: Path) -> None:
    raw = downloads.learn2reg(tmp_path / "raw", name)
    labels = nib.load(raw / "labelsTr" / f"{name}_0005_0000.nii.gz")
    mask = (np.asarray(labels.dataobj) == 2).astype(np.uint8)
    downloads.write(raw / "masksTr" / f"{name}_0005_0000.nii.gz", mask, labels.affine)
    out = run("abdomen-ct" if name == "AbdomenCTCT" else "oasis", raw, tmp_path / "out", size=(32, 28, 24))
    assert [path.name for path in (out / "masks").iterdir()] == [f"{name}_0005.nii.gz"]
    for kind in ("images", "labels", "masks"):
        before = stored(raw / f"{kind}Tr" / f"{name}_0005_0000.nii.gz")
        after = nib.load(out / kind / f"{name}_0005.nii.gz")
        np.testing.assert_array_equal(np.asarray(after.dataobj), before[:, 2:30, 4:28])
        np.testing.assert_allclose(after.affine[:3, 3], (10, 24, 38))
        assert after.get_data_dtype() == before.dtype
    subjects = [f"{name}_{number:04}" for number in range(1, 7)]
    test = subjects[4:] if name == "AbdomenCTCT" else []
    assert parts(out) == (subjects[:2] if test else subjects[:4], subjects[2:4] if test else subjects[4:], test)
    assert labels_to_score(out) == list(range(1, 14 if test else 36))


@pytest.mark.parametrize("alignment", ["by_shift", pytest.param("affine", marks=pytest.mark.slow)])
def test_scans_of_synapse_are_aligned_to_their_mean_and_interpolated_once(
    alignment: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if alignment == "by_shift":
        request.getfixturevalue(alignment)
    raw = downloads.synapse(tmp_path / "raw")
    out = run("abdomen-ct", raw, tmp_path / "out", size=(32, 32, 32))
    scans = [nib.load(raw / "RawData" / "Training" / "img" / f"img000{number}.nii.gz") for number in range(1, 7)]
    images = [nib.load(out / "images" / f"img000{number}.nii.gz") for number in range(1, 7)]
    template = nib.load(out / "template.nii.gz")
    # The grid holds the middle of the body, along the voxels of the first scan.
    shift = np.linalg.inv(scans[0].affine) @ images[0].affine
    np.testing.assert_allclose(shift, np.eye(4) + np.pad(np.rint(shift[:3, 3:]), ((0, 1), (3, 0))), atol=1e-6)
    assert np.abs(shift[:3, 3]).max() <= 4
    record = json.loads((out / "prepared.json").read_text())
    assert record["settings"]["template"] == "the mean of the training subjects on img0001"
    mean = np.mean([np.asarray(image.dataobj).clip(-160, 300) for image in images[:2]], axis=0)
    assert np.corrcoef(mean.ravel(), template.get_fdata().ravel())[0, 1] > 0.99
    for number, (scan, image) in enumerate(zip(scans, images, strict=True), start=1):
        there = np.array(record["subjects"][f"img000{number}"]["alignment"])
        voxels = np.linalg.inv(scan.affine) @ there @ image.affine
        places = np.tensordot(voxels[:3, :3], np.indices(image.shape), 1) + voxels[:3, 3, None, None, None]
        expected = map_coordinates(np.asarray(scan.dataobj, np.float64), places, order=1, mode="nearest")
        inner = (slice(8, 24),) * 3
        np.testing.assert_allclose(np.asarray(image.dataobj)[inner], expected[inner], atol=0.51)
    labels = [stored(out / "labels" / f"img000{number}.nii.gz") for number in range(1, 7)]
    for other in labels[1:]:
        assert min(dice(labels[0], other, [1, 2, 7]).values()) > 0.95
    assert images[3].get_data_dtype() == scans[3].get_data_dtype()
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    run("abdomen-ct", raw, out, size=(32, 32, 32))
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == written
    assert json.loads((out / "dataset.json").read_text())["labels"]["6"] == "liver"


@pytest.mark.usefixtures("by_shift")
def test_a_template_keeps_its_own_intensities(tmp_path: Path) -> None:
    """The mean of a folder from 0 to 1 serves for CT, whose intensities it does not have."""
    raw = downloads.synapse(tmp_path / "raw")
    scan = nib.load(raw / "RawData" / "Training" / "img" / "img0001.nii.gz")
    scaled = ((stored(Path(scan.get_filename())).astype(np.float32) + 160) / 460).clip(0, 1)
    template = downloads.write(tmp_path / "template.nii.gz", scaled, scan.affine)
    given: list[Any] = []
    align = alignment_cache.align
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alignment_cache, "align", lambda *images: given.append(images) or align(*images))
        run("abdomen-ct", raw, tmp_path / "out", template=template, size=(32, 32, 32))
    assert all(0 <= fixed.values.min() < 0.1 and fixed.values.max() <= 1 for fixed, *_ in given)
    assert all(moving.values.min() == -160 for _, moving, *_ in given)


@pytest.mark.usefixtures("by_shift")
def test_a_mean_of_other_scans_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, out = downloads.synapse(tmp_path / "raw"), tmp_path / "out"

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PreparedFolder, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run("abdomen-ct", raw, out, size=(32, 32, 32))
    template = (out / "template.nii.gz").read_bytes()
    path = raw / "RawData" / "Training" / "img" / "img0002.nii.gz"
    scan, affine = stored(path), nib.load(path).affine
    downloads.write(path, np.where(scan > 0, 200, -1000).astype(np.int16), affine)
    run("abdomen-ct", raw, out, size=(32, 32, 32))
    fresh = run("abdomen-ct", raw, tmp_path / "fresh", size=(32, 32, 32))
    assert (out / "template.nii.gz").read_bytes() == (fresh / "template.nii.gz").read_bytes() != template
    # Subjects that are there were aligned to the mean as it was.
    shutil.rmtree(out / "images")
    downloads.write(path, scan, affine)
    with pytest.raises(InputError, match=r"out: template\.nii\.gz was made from other subjects; choose another folder"):
        run("abdomen-ct", raw, out, size=(32, 32, 32))


def test_a_stated_split_of_abdomens_is_kept(tmp_path: Path) -> None:
    raw = downloads.images(tmp_path / "raw")
    split = {"train": ["s5", "s1"], "val": ["s0", "s3"], "test": ["s4"]}
    (raw / "dataset.json").write_text(json.dumps({"split": split}))
    out = run("abdomen-ct", raw, tmp_path / "out", size=(16, 32, 32))
    assert parts(out) == tuple(split.values())
    assert sorted(path.name for path in (out / "images").iterdir()) == [
        f"s{number}.nii.gz" for number in (0, 1, 3, 4, 5)
    ]


def test_folders_of_oasis_keep_their_grid(tmp_path: Path) -> None:
    for number in range(1, 5):
        folder = tmp_path / "raw" / f"OASIS_OAS1_{number:04}_MR1"
        image, labels = downloads.abdomen(number)
        downloads.write(folder / "aligned_norm.nii.gz", image, np.eye(4))
        downloads.write(folder / "aligned_seg35.nii.gz", labels, np.eye(4))
    out = run("oasis", tmp_path / "raw", tmp_path / "out")
    np.testing.assert_array_equal(stored(out / "images" / "OASIS_OAS1_0004_MR1.nii.gz"), downloads.abdomen(4)[0])
    assert parts(out)[1:] == (["OASIS_OAS1_0003_MR1", "OASIS_OAS1_0004_MR1"], [])


@pytest.mark.usefixtures("by_shift")
def test_any_images_are_aligned_to_a_template(tmp_path: Path) -> None:
    raw = downloads.images(tmp_path / "raw", labelled=False)
    moved = np.diag([2.0, 2, 2, 1])
    moved[:3, 3] = (100, -50, 20)
    template = downloads.write(tmp_path / "template.nii.gz", downloads.abdomen(0)[0], moved)
    out = run("folder", raw, tmp_path / "out", template=template, spacing_mm=4.0, size=(16, 16, 16))
    grid = read_volume(out / "images" / "s3.nii.gz").grid
    assert (grid.shape, grid.spacing) == ((16, 16, 16), (4, 4, 4))
    # s0 is the template, so its body is at the place of the template.
    s0 = read_volume(out / "images" / "s0.nii.gz")
    shown = s0.grid.to_world(np.argwhere(s0.values > -900)).mean(axis=0)
    own = (np.argwhere(downloads.abdomen(0)[0] > -900) * 2).mean(axis=0)
    np.testing.assert_allclose(shown, own + moved[:3, 3], atol=1)
    assert not (out / "labels").exists()
    assert [len(names) for names in parts(out)] == [2, 2, 2]


def test_any_images_on_one_grid_keep_it_with_labels_and_masks(tmp_path: Path) -> None:
    raw = downloads.images(tmp_path / "raw", subjects=10)
    downloads.write(raw / "masks" / "s2.nii.gz", (downloads.abdomen(2)[1] == 2).astype(np.float32))
    (raw / "dataset.json").write_text(json.dumps({"eval_labels": [1, 2], "labels": {"1": "outer", "2": "inner"}}))
    out = run("folder", raw, tmp_path / "out")
    for kind in ("images", "labels", "masks"):
        np.testing.assert_array_equal(stored(out / kind / "s2.nii.gz"), stored(raw / kind / "s2.nii.gz"))
    assert [len(names) for names in parts(out)] == [6, 2, 2]
    assert labels_to_score(out) == [1, 2]


def test_a_coarser_grid_averages(tmp_path: Path) -> None:
    raw = downloads.images(tmp_path / "raw")
    out = run("folder", raw, tmp_path / "out", spacing_mm=4.0)
    before, after = downloads.abdomen(1)[0], nib.load(out / "images" / "s1.nii.gz")
    assert after.shape == (16, 16, 16)
    np.testing.assert_allclose(after.affine[:3, 3], (1, 1, 1))
    means = before.reshape(16, 2, 16, 2, 16, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(np.asarray(after.dataobj), means, atol=0.51)


def _without(path: str) -> Callable[[Path], None]:
    return lambda raw: (raw / path).unlink()


@pytest.mark.parametrize(
    ("name", "make", "spoil", "message"),
    [
        ("ixi", downloads.pickled_ixi, _without("atlas.pkl"), r"atlas\.pkl: no such file; it is the moving image"),
        ("ixi", downloads.pickled_ixi, _without("Val/subject_Val1.pkl"), r"Val: holds 1 files \*\.pkl"),
        ("ixi", downloads.freesurfer_ixi, _without("IXI002/aseg.mgz"), r"IXI002: has no aseg \(\.mgz, \.nii\.gz"),
        ("ixi", downloads.images, lambda raw: None, "atlas: no such folder; the atlas is given like a subject"),
        (
            "lpba40",
            downloads.lpba,
            _without("S03/S03.delineation.structure.label.hdr"),
            r"structure\.label\.hdr: no such",
        ),
        ("lpba40", downloads.lpba, _without("S02/S02.delineation.skullstripped.img"), "it holds the voxels of S02"),
        ("lpba40", downloads.images, lambda raw: None, "holds no folders S01 to S40"),
        (
            "abdomen-ct",
            downloads.synapse,
            _without("RawData/Training/label/label0004.nii.gz"),
            r"label: has no label map label0004 for .*img0004\.nii\.gz",
        ),
        (
            "abdomen-ct",
            downloads.synapse,
            _without("RawData/Training/img/img0004.nii.gz"),
            r"img: has no image for .*label0004\.nii\.gz",
        ),
        (
            "oasis",
            partial(downloads.learn2reg, name="OASIS"),
            lambda raw: downloads.write(raw / "masksTr" / "OASIS_0007_0000.nii.gz", np.ones(downloads.PHANTOM)),
            r"imagesTr: has no image for .*masksTr.OASIS_0007_0000\.nii\.gz",
        ),
        (
            "abdomen-ct",
            downloads.images,
            _without("labels/s3.nii.gz"),
            r"labels: has no label map s3 for .*s3\.nii\.gz",
        ),
        ("abdomen-ct", downloads.lpba, lambda raw: None, r"has neither imagesTr/ \(Learn2Reg\), RawData"),
        ("oasis", downloads.images, lambda raw: None, r"has neither imagesTr/ \(Learn2Reg\) nor folders OASIS_"),
        ("folder", downloads.lpba, lambda raw: None, "needs a folder images/, which is missing"),
    ],
)
def test_what_is_missing_is_named_and_nothing_is_written(
    name: str, make: Callable[[Path], Path], spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    raw = make(tmp_path / "raw")
    spoil(raw)
    with pytest.raises(InputError, match=message):
        run(name, raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_few_subjects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Subjects found: 5; at least 6 are needed"):
        run("folder", downloads.images(tmp_path / "raw", subjects=5), tmp_path / "out")


def test_labels_that_do_not_tell_the_axes(tmp_path: Path) -> None:
    raw = downloads.pickled_ixi(tmp_path / "raw")
    image, labels = np.ones((3, 4, 5), np.float32), np.zeros((3, 4, 5), np.int16)
    image[0, 0, 0] = 2
    for values, message in (
        ((1, 21), "has none of the labels 8, 28"),
        ((1, 21, 8, 6, 7, 13), "do not tell which axes"),
    ):
        labels.flat[: len(values)] = values
        (raw / "atlas.pkl").write_bytes(downloads.pickle.dumps([image, labels]))
        with pytest.raises(InputError, match=message):
            run("ixi", raw, tmp_path / "out")
    assert ixi.LANDMARKS.keys() == set("RAS")
