"""The reader opens each file once, hashes its content, and checks the meaning of values in memory."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import (
    Grid,
    Volume,
    as_finite,
    as_image,
    as_label_map,
    as_mask,
    canonical,
    content_hash,
    read_image,
    read_label_map,
    read_volume,
    write_volume,
)
from tests.spatial.geometries import GEOMETRIES, indices, pattern

FORMATS = [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"]


def stored(ending: str, folder: Path, volume: Volume) -> Path:
    write_volume(volume, folder / "source.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(folder / "source.nii.gz")), str(folder / f"image{ending}"))
    return folder / f"image{ending}"


@pytest.mark.parametrize("ending", FORMATS)
def test_the_hash_of_a_volume_is_that_of_its_file(ending: str, tmp_path: Path) -> None:
    path = stored(ending, tmp_path, pattern(GEOMETRIES["PIR"]))
    before = read_volume(path).sha256
    assert before == content_hash(path)
    if ending.startswith(".nii"):
        assert before == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_image(path).sha256 == before
    changed = pattern(GEOMETRIES["PIR"])
    changed.values[3, 4, 5] += 1
    assert content_hash(stored(ending, tmp_path, changed)) != before


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_nifti_file_is_opened_once(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = stored(ending, tmp_path, pattern(GEOMETRIES["RAS"]))
    opened = []
    real = io.open

    def counting(file: object, *arguments: object, **others: object) -> object:
        opened.append(Path(str(file)))
        return real(file, *arguments, **others)

    for place in ("io.open", "builtins.open"):
        monkeypatch.setattr(place, counting)
    volume = read_volume(path)
    assert opened == [path]
    # Values are not a memory map, which would change with the file.
    monkeypatch.undo()
    kept = volume.values.copy()
    stored(ending, tmp_path, Volume(0 * kept, volume.grid))
    assert np.array_equal(volume.values, kept)


def test_formats_of_simpleitk_have_the_hash_of_their_voxels(tmp_path: Path) -> None:
    volume = pattern(GEOMETRIES["LPS"])
    hashes = {content_hash(stored(ending, tmp_path, volume)) for ending in (".mha", ".mhd", ".nhdr")}
    assert len(hashes) == 1


def test_a_damaged_file_has_no_values(tmp_path: Path) -> None:
    path = stored(".nii.gz", tmp_path, pattern(GEOMETRIES["RAS"]))
    content = path.read_bytes()
    for damaged in (content[:-9], content[:-8] + b"\0" * 8, content[:300]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="damaged or cut short"):
            read_volume(path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match="not a NIfTI file"):
        read_volume(path)
    path = stored(".nii", tmp_path, pattern(GEOMETRIES["RAS"]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged or cut short"):
        read_volume(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a NIfTI file"):
        read_volume(path)
    with pytest.raises(InputError, match="no such file"):
        read_volume(tmp_path / "gone.nii")


def test_checks_of_meaning_work_on_values() -> None:
    grid = GEOMETRIES["RAS"]
    image = pattern(grid)
    assert as_image(as_finite(image, "moving"), "moving") is image
    holes = Volume(np.where(image.values > 0, np.nan, 1.0), grid)
    with pytest.raises(InputError, match=r"^moving: \d+ voxels are NaN"):
        as_finite(holes, "moving")
    with pytest.raises(InputError, match=r"^moving: every voxel is 7"):
        as_image(Volume(np.full(grid.shape, 7), grid), "moving")
    labels = as_label_map(Volume(np.abs(image.values).astype(float), grid, sha256="abc"), "labels")
    assert labels.values.dtype == np.int32
    assert labels.sha256 == "abc"
    for message, wrong in {
        "whole numbers from 0; this file has others, from -0.5": np.full(grid.shape, -0.5),
        "whole numbers from 0; this file has NaN": np.full(grid.shape, np.nan),
        "label 3e\\+07 is too large": np.full(grid.shape, 30_000_000.0),
    }.items():
        with pytest.raises(InputError, match=f"^labels: .*{message}"):
            as_label_map(Volume(wrong, grid), "labels")


def test_labels_are_rounded_within_the_rounding_of_fp32() -> None:
    grid = GEOMETRIES["RAS"]
    for value in (2.0000001, 1.9999999, 2.0000005, 131.00002, -1e-7):
        labels = as_label_map(Volume(np.full(grid.shape, value), grid), "labels")
        assert (labels.values == round(value)).all()
    for value, shown in ((2.0001, "2.0001"), (7.5, "7.5"), (-1, "-1"), (70000.4, "70000.4")):
        values = np.full(grid.shape, 3.0)
        values[1, 2, 3] = value
        with pytest.raises(InputError, match=rf"whole numbers from 0; this file has others, .* such as {shown}\.$"):
            as_label_map(Volume(values, grid), "labels")
    with pytest.raises(InputError, match="Is it a probability map"):
        as_label_map(Volume(np.full(grid.shape, 0.25), grid), "labels")


def test_a_label_map_that_nibabel_scales_is_read(tmp_path: Path) -> None:
    labels = np.arange(210, dtype=np.float32).reshape(5, 6, 7) % 4  # scaled by 3 / 255
    image = nib.Nifti1Image(labels, np.eye(4))
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "labels.nii.gz")
    assert not np.array_equal(nib.load(tmp_path / "labels.nii.gz").get_fdata(), labels)
    assert np.array_equal(read_label_map(tmp_path / "labels.nii.gz").values, labels)


def test_masks_of_fractions_have_a_threshold(caplog: pytest.LogCaptureFixture) -> None:
    grid = GEOMETRIES["RAS"]
    values = np.zeros(grid.shape)
    values[:4], values[4:8], values[8:12] = 0.49, 0.5, 1
    mask = as_mask(Volume(values, grid, sha256="abc"), "m.nii.gz")
    assert np.array_equal(mask.values, values >= 0.5)
    assert mask.sha256 == "abc"
    assert "m.nii.gz: holds fractions from 0 to 1. The mask is where they are at least 0.5." in caplog.text
    caplog.clear()
    for whole in (255 * (values == 1), (values == 1).astype(np.float32), 3 * (values == 1).astype(np.uint8)):
        assert np.array_equal(as_mask(Volume(whole, grid), "mask").values != 0, values == 1)
    assert not caplog.records
    for wrong in (values * 2.2, -values, np.where(values > 0, values, np.nan)):
        with pytest.raises(InputError, match=r"^mask: a label map holds whole numbers from 0"):
            as_mask(Volume(wrong, grid), "mask")


def test_a_series_is_no_volume_and_its_message_says_where_to_go(tmp_path: Path) -> None:
    values = np.ones((4, 5, 6, 7), np.float32)
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "bold.nii.gz")
    channels = sitk.GetImageFromArray(np.ones((6, 5, 4, 2), np.float32), isVector=True)
    sitk.WriteImage(channels, str(tmp_path / "channels.mha"))
    for name in ("bold.nii.gz", "channels.mha"):
        for read in (read_image, read_label_map):
            with pytest.raises(InputError, match=r"one 3-D volume is needed; .*`sacb apply`"):
                read(tmp_path / name)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_canonical_axes_run_to_right_anterior_and_superior(name: str) -> None:
    volume = pattern(GEOMETRIES[name])
    made = canonical(volume)
    theirs = nib.as_closest_canonical(nib.Nifti1Image(volume.values, volume.grid.affine))
    assert np.array_equal(made.values, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(made.grid.affine, theirs.affine, atol=1e-9)
    assert isinstance(made.grid, Grid)
    assert made.grid.shape == made.values.shape
    assert np.shares_memory(made.values, volume.values)
    index = made.grid.to_index(volume.grid.to_world(indices(volume.grid.shape)[::37])).round().astype(int)
    assert np.array_equal(made.values[tuple(index.T)], volume.values.reshape(-1)[::37])
