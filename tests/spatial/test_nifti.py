"""Odd NIfTI files: read as nibabel and ITK read them, or refused with the reason, alike by all readers."""

from __future__ import annotations

import gzip
import logging
import os
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import as_series, as_volume, read_grid, read_transform, read_volume

AFFINE = np.array([[2.0, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, -30], [0, 0, 0, 1]])
VALUES = np.arange(210, dtype=np.int16).reshape(5, 6, 7)
NAN, INF = float("nan"), float("inf")
# Offsets of fields in a NIfTI-1 header.
DIM, TYPE, PIXDIM, OFFSET, SLOPE, UNITS, QFORM, SFORM, QUATERNION, SROW = 40, 70, 76, 108, 112, 123, 252, 254, 256, 280


def content(
    edits: list[tuple[int, str, object]] | None = None, sform: int = 1, qform: int = 1, kind: type = nib.Nifti1Image
) -> bytes:
    image = kind(VALUES, AFFINE)
    image.set_sform(AFFINE, sform)
    image.set_qform(AFFINE, qform)
    image.header.set_xyzt_units("mm")
    raw = bytearray(image.to_bytes())
    for offset, form, value in edits or []:
        struct.pack_into(f"<{form}", raw, offset, value)
    return bytes(raw)


BOTH, ONLY_Q, ONLY_S = {"sform": 1, "qform": 1}, {"sform": 0, "qform": 1}, {"sform": 1, "qform": 0}
READ = {
    "unit of length that is not defined": (BOTH, [(UNITS, "B", 7)], "unit of length has the code 7"),
    "unit of time that is not defined": (BOTH, [(UNITS, "B", 2 | 56)], ""),
    "further bits of units": (BOTH, [(UNITS, "B", 2 | 64)], ""),
    "negative pixdim, qform": (ONLY_Q, [(PIXDIM + 8, "f", -3.0)], "pixdim"),
    "negative pixdim, sform": (ONLY_S, [(PIXDIM + 8, "f", -3.0)], "pixdim"),
    "zero pixdim, sform": (BOTH, [(PIXDIM + 8, "f", 0.0)], "of 2x3x4 mm by its sform, but of 2x1x4 mm"),
    "NaN pixdim, sform": (BOTH, [(PIXDIM + 8, "f", NAN)], "of 2xnanx4 mm by its pixdim"),
    "stale pixdim, sform": (ONLY_S, [(PIXDIM + 8, "f", 7.0)], "of 2x7x4 mm by its pixdim. The sform counts"),
    "qfac 0": (ONLY_Q, [(PIXDIM, "f", 0.0)], ""),
    "qfac NaN": (ONLY_Q, [(PIXDIM, "f", NAN)], ""),
    "NaN quaternion, sform": (BOTH, [(QUATERNION, "f", NAN)], "qform and sform disagree"),
    "code that is not defined, forms agree": (BOTH, [(SFORM, "h", 33)], "sform_code 33 not valid"),
    "negative code": (BOTH, [(SFORM, "h", -1), (SROW + 12, "f", 99.0)], "sform_code -1 not valid"),
    "slope 0": (BOTH, [(SLOPE, "f", 0.0)], ""),
    "slope NaN": (BOTH, [(SLOPE, "f", NAN), (SLOPE + 4, "f", NAN)], ""),
    "slope infinite": (BOTH, [(SLOPE, "f", INF)], ""),
    "trailing ones": (BOTH, [(DIM, "h", 5)], ""),
    "wrong size of header": (BOTH, [(0, "i", 0)], "sizeof_hdr should be 348"),
    "wrong bits per voxel": (BOTH, [(TYPE + 2, "h", 8)], ""),
}
REFUSED = {
    "metres": ([(UNITS, "B", 1)], "its lengths are in meters"),
    "voxels in the header": ([(OFFSET, "f", 0.0)], "places the voxels at byte 0; .* begin at byte 352"),
    "voxels in the extension": ([(OFFSET, "f", 351.0)], "at byte 351"),
    "voxels nowhere": ([(OFFSET, "f", NAN)], "at byte nan"),
    "voxels before": ([(OFFSET, "f", -5.0)], "at byte -5"),
    "voxels after the end": ([(OFFSET, "f", 1e9)], "cut short: its header announces"),
    "voxels half after the end": ([(OFFSET, "f", 400.0)], "820 bytes, but it (has 772 bytes|ends 48 bytes before)"),
    "NaN intercept": ([(SLOPE, "f", 2.0), (SLOPE + 4, "f", NAN)], "invalid intercept nan"),
    "no rotation": ([(SFORM, "h", 0), (QUATERNION, "f", 1.2)], "its qform is not a rotation: .* sum to 1.44"),
    "NaN rotation": ([(SFORM, "h", 0), (QUATERNION, "f", NAN)], "sum to nan"),
    "NaN pixdim, qform": ([(SFORM, "h", 0), (PIXDIM + 8, "f", NAN)], r"size of its voxels is \[2.0, nan, 4.0\]"),
    "zero rows": ([(SROW, "f", 0.0)], "has no inverse|not a displacement field"),
    "code that counts": ([(SFORM, "h", 33), (SROW + 12, "f", 99.0)], "its sform_code is 33"),
    "code that alone counts": ([(SFORM, "h", 33), (QFORM, "h", 0)], "its sform_code is 33"),
    "two dimensions": ([(DIM, "h", 2)], r"has shape \(5, 6\); one 3-D volume|not a displacement field"),
    "no dimensions": ([(DIM, "h", 0)], "has 0 dimensions"),
    "empty": ([(DIM + 2, "h", 0)], r"has shape \(0, 6, 7\)"),
    "negative size": ([(DIM + 4, "h", -6)], r"has shape \(5, -6, 7\)"),
    "huge": (
        [(DIM + 2 * axis, "h", 30000) for axis in (1, 2, 3)],
        r"cut short: its header announces shape \(30000, 30000, 30000\)",
    ),
    "bits": ([(TYPE, "h", 1)], "data code 1 not supported"),
    "unknown type": ([(TYPE, "h", 99)], "data code 99 not recognized"),
    "float128": ([(TYPE, "h", 1536)], "data code 1536|cut short"),
    "wrong magic": ([(344, "4s", b"N+1\0")], "Analyze 7.5 file, or the mark of NIfTI"),
}


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("name", READ)
def test_repaired_as_nibabel_does(name: str, ending: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forms, edits, warning = READ[name]
    raw = content(edits, **forms)
    path = tmp_path / f"image.{ending}"
    path.write_bytes(gzip.compress(raw) if ending == "nii.gz" else raw)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-5)
    assert np.array_equal(volume.values, VALUES)
    assert (warning in caplog.text) if warning else not caplog.records
    assert read_grid(path).coincides_with(volume.grid)
    (frame,) = as_series(path, "moving").frames()
    assert np.array_equal(frame.values, VALUES)
    theirs = nib.load(path)
    assert np.array_equal(as_volume(theirs, "moving").values, VALUES)
    np.testing.assert_allclose(theirs.affine, AFFINE, atol=1e-5)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_reason(name: str, ending: str, tmp_path: Path) -> None:
    edits, message = REFUSED[name]
    raw = content(edits)
    path = tmp_path / f"image.{ending}"
    path.write_bytes(gzip.compress(raw, mtime=0) if ending == "nii.gz" else raw)
    for read in (read_volume, lambda path: as_series(path, "moving"), read_transform):
        with pytest.raises(InputError, match=message) as error:
            read(path)
        assert "\n" not in str(error.value)


def test_a_quaternion_that_is_none_by_rounding_is_one(tmp_path: Path) -> None:
    turned = np.diag([-2.0, -3, 4, 1])
    image = nib.Nifti1Image(VALUES, turned)
    image.set_sform(None, 0)
    image.set_qform(turned, 1)
    raw = bytearray(image.to_bytes())
    for last in (1.0000003, 1.0004):
        struct.pack_into("<3f", raw, QUATERNION, 0, 0, last)
        (tmp_path / "image.nii").write_bytes(raw)
        np.testing.assert_allclose(read_volume(tmp_path / "image.nii").grid.affine, turned, atol=1e-5)


def test_other_layouts(tmp_path: Path) -> None:
    big = nib.Nifti1Image(VALUES.astype(">i2"), AFFINE, header=nib.Nifti1Header(endianness=">"))
    extended = nib.Nifti1Image(VALUES, AFFINE)
    extended.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"some words"))
    damaged = bytearray(extended.to_bytes())
    struct.pack_into("<i", damaged, 352, 10**6)  # the length of the extension, which ITK ignores too
    apart = bytearray(content())
    apart[352:352] = bytes(5)
    struct.pack_into("<f", apart, OFFSET, 357)
    for raw in (big.to_bytes(), extended.to_bytes(), damaged, apart, content(kind=nib.Nifti2Image)):
        (tmp_path / "image.nii").write_bytes(raw)
        volume = read_volume(tmp_path / "image.nii")
        assert np.array_equal(volume.values, VALUES)
        np.testing.assert_allclose(volume.grid.affine, AFFINE, atol=1e-5)


RAW = content()
PACKED = gzip.compress(RAW, mtime=0)


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("members.nii.gz", gzip.compress(RAW[:500]) + gzip.compress(RAW[500:]), ""),
        ("zeros.nii.gz", PACKED + bytes(512), ""),
        ("garbage.nii.gz", PACKED + b"\r\n<html>trailer</html>", ""),
        ("Mixed.Nii", RAW, ""),
        ("UPPER.NII.GZ", PACKED, ""),
        ("cut.nii.gz", PACKED[:-30], "damaged or cut short"),
        ("cut.nii.gz", PACKED[:-4], "damaged or cut short"),
        ("crc.nii.gz", PACKED[:-8] + bytes([PACKED[-8] ^ 1]) + PACKED[-7:], "damaged or cut short"),
        ("cut.nii", RAW[:-1], "cut short: its header announces shape"),
        ("cut.nii", RAW[:300], "not a NIfTI file"),
        ("isgz.nii", PACKED, "is compressed by gzip, though its name"),
        ("notgz.nii.gz", RAW, "is not compressed, though its name ends in .gz"),
        ("double.nii.gz", gzip.compress(PACKED), "compressed twice"),
        ("html.nii.gz", b"<!DOCTYPE html><html>not found</html>", "it is a web page"),
        ("lfs.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 1\n", "git lfs pull"),
        ("empty.nii.gz", b"", "it is empty"),
        ("dicom.nii", bytes(128) + b"DICM" + bytes(400), "it is a DICOM file"),
        ("mha.nii", b"ObjectType = Image\n", "it is a MetaImage"),
    ],
)  # fmt: skip
def test_containers(name: str, raw: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    if message:
        with pytest.raises(InputError, match=message):
            read_volume(tmp_path / name)
    else:
        assert np.array_equal(read_volume(tmp_path / name).values, VALUES)


def test_a_file_that_holds_far_more_than_its_header_says_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(RAW) + gzip.compress(bytes(2**26), 1) * 20)
    (tmp_path / "sparse.nii").write_bytes(RAW)
    os.truncate(tmp_path / "sparse.nii", 2**42)
    for name in ("bomb.nii.gz", "sparse.nii"):
        with pytest.raises(InputError, match="more than twice the bytes that its header announces"):
            read_volume(tmp_path / name)
        assert read_grid(tmp_path / name).shape == VALUES.shape


def test_a_short_rest_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "image.nii").write_bytes(RAW + b"rest")
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read_volume(tmp_path / "image.nii").values, VALUES)
    assert "holds 4 bytes after its last voxel" in caplog.text
