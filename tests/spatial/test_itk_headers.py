"""MetaImage and NRRD files whose headers do not fit their data."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import read_grid, read_volume

VALUES = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
ENDINGS = (".mha", ".mhd", ".nrrd", ".nhdr")


def stored(ending: str, folder: Path, compressed: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(VALUES), str(folder / f"image{ending}"), compressed)
    return folder / f"image{ending}"


def edited(path: Path, old: str, new: str) -> Path:
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_names_in_capitals(ending: str, compressed: bool, tmp_path: Path) -> None:
    path = stored(ending, tmp_path, compressed).rename(tmp_path / f"image{ending.upper()}")
    assert np.array_equal(read_volume(path).values, VALUES.transpose())
    assert read_grid(path).shape == (5, 6, 7)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("ending", ENDINGS)
def test_more_voxels_than_there_is_data_are_refused_at_once(ending: str, compressed: bool, tmp_path: Path) -> None:
    path = edited(stored(ending, tmp_path, compressed), ": 5 6 7" if ending[1] == "n" else "= 5 6 7", "= 30000 30000 7")
    if ending[1] == "n":
        edited(path, "sizes= ", "sizes: ")
    for read in (read_volume, read_grid):
        with pytest.raises(InputError, match="cut short: its header announces 12600000000 bytes"):
            read(path)


@pytest.mark.parametrize("old", ["CompressedDataSize = 3", "CompressedDataSize", "x\x5e"])
def test_compressed_voxels_that_itk_would_make_up(old: str, tmp_path: Path) -> None:
    path = stored(".mha", tmp_path, compressed=True)
    path.write_bytes(path.read_bytes().replace(old.encode(), old[:-1].encode() + b"1"))
    with pytest.raises(InputError, match=r"do not hold all voxels|lacks CompressedDataSize"):
        read_volume(path)


def test_text_voxels_are_counted(tmp_path: Path) -> None:
    path = edited(stored(".mhd", tmp_path), "BinaryData = True", "BinaryData = False")
    (tmp_path / "image.raw").write_text(" ".join(map(str, VALUES.ravel())) + "\n")
    assert np.array_equal(read_volume(path).values, VALUES.transpose())
    (tmp_path / "image.raw").write_text(" ".join(map(str, VALUES.ravel()[:-1])))
    with pytest.raises(InputError, match="its text does not hold all voxels"):
        read_volume(path)


@pytest.mark.parametrize(("ending", "field"), [(".mhd", "ElementDataFile = image.raw"), (".nhdr", "file: image.raw")])
def test_data_files_are_regular_ones(ending: str, field: str, tmp_path: Path) -> None:
    path = stored(ending, tmp_path)
    os.mkfifo(tmp_path / "pipe.raw")
    (tmp_path / "endless.raw").symlink_to("/dev/zero")
    before = "image.raw"
    for name, message in {
        "pipe.raw": "is a pipe",
        "endless.raw": "is a pipe, a socket or a device",
        "/dev/zero": "is a pipe, a socket or a device",
        "gone.raw": "gone.raw: no such file",
        "p%0f.raw 1 2 x": "is not a pattern|no such file",
        "slice%d.raw 1 7 1": "slice1.raw: no such file",
    }.items():
        edited(path, field.replace("image.raw", before), field.replace("image.raw", name))
        before = name
        for read in (read_volume, read_grid):
            with pytest.raises(InputError, match=message):
                read(path)


@pytest.mark.parametrize("names", ["list", "pattern"])
def test_a_slice_per_file(names: str, tmp_path: Path) -> None:
    path = stored(".mhd", tmp_path)
    listed = "\n".join(f"s{number}.raw" for number in range(7))
    edited(path, "image.raw", f"LIST\n{listed}" if names == "list" else "s%d.raw 0 6 1")
    for number, plane in enumerate(VALUES):
        (tmp_path / f"s{number}.raw").write_bytes(plane.tobytes())
    assert np.array_equal(read_volume(path).values, VALUES.transpose())
    (tmp_path / "s6.raw").write_bytes(b"short")
    with pytest.raises(InputError, match="cut short: its header announces 420 bytes"):
        read_volume(path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_of_the_format_is_named(ending: str, tmp_path: Path) -> None:
    for content, message in {
        b"": "is empty",
        b"\x1f\x8b" + bytes(99): "is compressed by gzip",
        b"version https://git-lfs.github.com/spec/v1\n": "git lfs pull",
        b"some words": "damaged or cut short: its header lacks",
    }.items():
        (tmp_path / f"image{ending}").write_bytes(content)
        for read in (read_volume, read_grid):
            with pytest.raises(InputError, match=message):
                read(tmp_path / f"image{ending}")
