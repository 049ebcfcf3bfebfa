"""Images in memory are read like their files, and results have the type of the input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import LoadImage

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import Grid, Volume, as_volume, in_type_of, read_volume, write_volume
from tests.engine.workflows import ROOT
from tests.spatial.geometries import GEOMETRIES, blocks, pattern

LOADERS: dict[str, Callable[[Path], object]] = {
    "str": str,
    "path": lambda path: path,
    "nibabel": nib.load,
    "nibabel in memory": lambda path: nib.Nifti1Image(np.asanyarray(nib.load(path).dataobj), nib.load(path).affine),
    "nibabel 2": lambda path: nib.Nifti2Image(np.asanyarray(nib.load(path).dataobj), nib.load(path).affine),
    "FreeSurfer": lambda path: nib.MGHImage(np.asanyarray(nib.load(path).dataobj), nib.load(path).affine),
    "SimpleITK": lambda path: sitk.ReadImage(str(path)),
    "MONAI": lambda path: LoadImage(image_only=True, ensure_channel_first=True, dtype=np.int16)(path),
    "MONAI without channel": lambda path: LoadImage(image_only=True, dtype=np.int16)(path),
    "volume": read_volume,
}


@pytest.fixture(params=GEOMETRIES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_volume(pattern(GEOMETRIES[request.param]), tmp_path / "image.nii.gz")
    return tmp_path / "image.nii.gz"


@pytest.mark.parametrize("kind", LOADERS)
def test_every_type_says_what_its_file_says(kind: str, path: Path) -> None:
    image, expected = LOADERS[kind](path), read_volume(path)
    volume = as_volume(image, "moving")
    assert np.array_equal(volume.values, expected.values)
    assert volume.values.dtype.newbyteorder("=") == expected.values.dtype
    np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-4)

    other = Volume(blocks(GEOMETRIES["ASL"]).values.astype(np.uint8), GEOMETRIES["ASL"])
    result = in_type_of(image, other)
    kinds = {"str": nib.Nifti1Image, "path": nib.Nifti1Image}
    assert type(result) is kinds.get(kind, type(image))
    back = as_volume(result, "warped")
    assert np.array_equal(back.values, other.values)
    assert back.values.dtype == np.uint8
    np.testing.assert_allclose(back.grid.affine, other.grid.affine, atol=1e-4)
    if isinstance(image, MetaTensor):
        assert result.ndim == image.ndim
    if isinstance(result, nib.Nifti1Image):
        assert result.header["qform_code"] == result.header["sform_code"] == 1
        assert result.header.get_xyzt_units()[0] == "mm"


def test_scaling_is_that_of_the_file(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.5, -1000)
    nib.save(image, tmp_path / "image.nii")
    loaded = nib.load(tmp_path / "image.nii")
    volume, expected = as_volume(loaded, "moving"), read_volume(tmp_path / "image.nii")
    assert volume.values.dtype == expected.values.dtype == np.asanyarray(loaded.dataobj).dtype
    assert np.array_equal(volume.values, expected.values)
    assert volume.sha256 == ""
    assert as_volume(tmp_path / "image.nii", "moving").sha256 == expected.sha256 != ""


@pytest.mark.parametrize(
    "array", [np.zeros((4, 5, 6)), torch.zeros(4, 5, 6), [[[1, 2], [3, 4]], [[1, 2], [3, 4]]]], ids=type
)
def test_an_array_has_no_place_in_the_world(array: object) -> None:
    for convert in (lambda: as_volume(array, "moving"), lambda: in_type_of(array, pattern(GEOMETRIES["RAS"]))):
        with pytest.raises(InputError, match=r"array without an affine.*nibabel.Nifti1Image\(array, affine\)"):
            convert()


def sheared() -> np.ndarray:
    affine = np.eye(4)
    affine[0, 1] = 0.05
    return affine


def in_meters() -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
    image.header.set_xyzt_units("meter")
    return image


ONES = np.ones((3, 4, 5), np.float32)
REFUSED: dict[str, Callable[[], object]] = {
    "of type NoneType; a path": lambda: None,
    "the moving image: its lengths are in meters": in_meters,
    r"the moving image: its axes are not at right angles \(cosine": lambda: nib.Nifti1Image(ONES, sheared()),
    "right angles": lambda: MetaTensor(ONES, affine=sheared()),
    "its voxels are of type complex64": lambda: nib.Nifti1Image(ONES.astype(np.complex64), np.eye(4)),
    r"has shape \(3, 4, 5, 2\); one 3-D volume is needed; .*sacb apply": lambda: nib.Nifti1Image(
        np.stack([ONES, ONES], axis=-1), np.eye(4)
    ),
    r"has shape \(2, 3, 4, 5\); one 3-D volume is needed; .*sacb apply": lambda: MetaTensor(np.stack([ONES, ONES])),
    r"has shape \(1, 1, 3, 4, 5\); \(C, D, H, W\) or": lambda: MetaTensor(ONES[None, None]),
    "3 dimensions and 2 values a voxel": lambda: sitk.GetImageFromArray(np.ones((5, 4, 3, 2)), isVector=True),
    "affine is in LPS": lambda: MetaTensor(ONES, meta={"space": "LPS"}),
    "no such file": lambda: Path("gone.nii.gz"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_file_could_not_hold_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_volume(REFUSED[message](), "moving")


def test_a_file_that_ends_before_its_voxels_is_damaged(tmp_path: Path) -> None:
    write_volume(pattern(GEOMETRIES["RAS"]), tmp_path / "image.nii.gz")
    (tmp_path / "image.nii.gz").write_bytes((tmp_path / "image.nii.gz").read_bytes()[:5000])
    image = nib.load(tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="the moving image: the file is damaged or cut short"):
        as_volume(image, "moving")


@pytest.mark.parametrize("dtype", [torch.bool, torch.float16, torch.bfloat16])
def test_types_of_pytorch_become_those_of_files(dtype: torch.dtype) -> None:
    volume = as_volume(MetaTensor(torch.ones(1, 3, 4, 5).to(dtype)), "moving")
    assert volume.values.dtype == (np.uint8 if dtype == torch.bool else np.float32)
    assert (volume.values == 1).all()


@pytest.mark.parametrize(
    ("dtype", "stored"), [("uint32", "int32"), ("int8", "int32"), ("float64", "float32"), ("int16", "int16")]
)
def test_freesurfer_gets_a_type_that_it_can_store(dtype: str, stored: str, tmp_path: Path) -> None:
    image = nib.MGHImage(ONES, np.eye(4))
    result = in_type_of(image, Volume(7 * np.ones((3, 4, 5), dtype), Grid((3, 4, 5), GEOMETRIES["RAS"].affine)))
    nib.save(result, tmp_path / "image.mgz")
    assert nib.load(tmp_path / "image.mgz").get_data_dtype().newbyteorder("=") == stored
    assert (np.asarray(nib.load(tmp_path / "image.mgz").dataobj) == 7).all()


def test_labels_of_every_type_reach_monai_and_simpleitk() -> None:
    for dtype in ("uint8", "uint16", "uint32"):
        labels = Volume(np.full((3, 4, 5), 200, dtype), Grid((3, 4, 5), GEOMETRIES["RAS"].affine))
        for image in (MetaTensor(ONES), sitk.GetImageFromArray(ONES)):
            assert (as_volume(in_type_of(image, labels), "labels").values == 200).all()


def test_spatial_does_not_import_monai() -> None:
    program = "import sys, sacb_bundle.spatial; raise SystemExit('monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
