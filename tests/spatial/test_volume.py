from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import Grid, Volume, read_label_map, read_volume, volume_name, write_volume
from tests.spatial.geometries import GEOMETRIES, pattern


@pytest.mark.parametrize("ending", [".mha", ".nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_all_formats_say_the_same(name: str, ending: str, tmp_path: Path) -> None:
    volume = pattern(GEOMETRIES[name])
    write_volume(volume, tmp_path / "image.nii.gz")
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "image.nii.gz")), str(tmp_path / f"image{ending}"))
    read = read_volume(tmp_path / f"image{ending}")
    assert np.array_equal(read.values, volume.values)
    np.testing.assert_allclose(read.grid.affine, volume.grid.affine, atol=1e-4)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64", ">i2"])
def test_types_of_number_and_trailing_axes(dtype: str, tmp_path: Path) -> None:
    values = np.arange(60).reshape(3, 4, 5, 1).astype(dtype)
    image = nib.Nifti1Image(values, np.eye(4))
    image.header["pixdim"][4] = 0
    nib.save(image, tmp_path / "image.nii.gz")
    read = read_volume(tmp_path / "image.nii.gz").values
    assert read.shape == (3, 4, 5)
    assert np.array_equal(read, values[..., 0])


def test_slope_and_intercept(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, -1000)
    nib.save(image, tmp_path / "image.nii.gz")
    stored = nib.load(tmp_path / "image.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "image.nii.gz").values, stored.get_fdata())
    assert read_volume(tmp_path / "image.nii.gz").values[0, 0, 0] == -1000


def test_sform_counts_and_a_disagreeing_qform_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "image.nii.gz"
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    image.set_sform(np.diag([2.0, 2, 2, 1]), code=1)
    image.set_qform(np.diag([3.0, 3, 3, 1]), code=1)
    nib.save(image, path)
    with caplog.at_level(logging.WARNING):
        assert read_volume(path).grid.spacing == (2, 2, 2)
    assert "qform and sform disagree" in caplog.text

    caplog.clear()
    image.set_sform(None, code=0)
    nib.save(image, path)
    assert read_volume(path).grid.spacing == (3, 3, 3)
    assert not caplog.text

    image.set_qform(None, code=0)
    nib.save(image, path)
    read_volume(path)
    assert "neither qform nor sform is set" in caplog.text


def test_lengths_are_millimetres(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="its lengths are in meters"):
        read_volume(tmp_path / "image.nii.gz")


def test_trailing_axes_of_other_formats(tmp_path: Path) -> None:
    flat = sitk.GetImageFromArray(np.arange(60, dtype=np.uint8).reshape(5, 4, 3))
    flat.SetSpacing((2, 3, 4))
    sitk.WriteImage(sitk.JoinSeries(flat), str(tmp_path / "image.mha"))
    read = read_volume(tmp_path / "image.mha")
    assert np.array_equal(read.values, sitk.GetArrayFromImage(flat).transpose(2, 1, 0))
    assert read.grid.spacing == (2, 3, 4)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_rare_types_are_written(dtype: type, tmp_path: Path) -> None:
    volume = Volume(np.arange(60, dtype=dtype).reshape(3, 4, 5), Grid((3, 4, 5), GEOMETRIES["RAS"].affine))
    write_volume(volume, tmp_path / "image.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "image.nii.gz").values, volume.values)


def test_shear_is_refused(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.05
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), affine), tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match=r"not at right angles \(cosine 0.050\)"):
        read_volume(tmp_path / "image.nii.gz")


def test_other_formats_and_two_dimensions_are_refused(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(b"abc")
    with pytest.raises(InputError, match=r"only .nii, .nii.gz, .mha"):
        read_volume(tmp_path / "image.jpg")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5))), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="has 2 dimensions"):
        read_volume(tmp_path / "flat.mha")
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(InputError, match="damaged or cut short"):
        read_volume(tmp_path / "broken.nrrd")


def test_what_is_written_has_one_place(tmp_path: Path) -> None:
    volume = pattern(GEOMETRIES["oblique PIR 1x1x5"])
    write_volume(volume, tmp_path / "image.nii.gz")
    header = nib.load(tmp_path / "image.nii.gz").header
    assert header["qform_code"] == header["sform_code"] == 1
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_data_dtype() == np.int16


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((3, 4, 5), 7.0), np.eye(4)), tmp_path / "labels.nii.gz")
    assert read_label_map(tmp_path / "labels.nii.gz").values.dtype == np.int32


def test_name_without_ending() -> None:
    assert [volume_name(path) for path in ("a/b.c.nii.gz", "d.MHA", "e.txt")] == ["b.c", "d", "e.txt"]


def test_values_have_the_shape_of_the_grid() -> None:
    with pytest.raises(InputError, match=r"values of a volume have shape \(3, 4, 5\), but its grid \(4, 4, 5\)"):
        Volume(np.zeros((3, 4, 5)), Grid((4, 4, 5), np.eye(4)))
