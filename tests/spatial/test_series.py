"""A series is warped like its frames one by one, in bounded memory, and written completely or not at all."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from monai.data import MetaTensor
from monai.transforms import EnsureChannelFirst, LoadImage

from sacb_bundle.commands import main
from sacb_bundle.commands.apply_transform import apply_transform
from sacb_bundle.errors import InputError
from sacb_bundle.spatial import (
    Grid,
    Series,
    TrailingAxes,
    Transform,
    Volume,
    as_series,
    as_volume,
    resample,
    series_dtype,
    series_in_type_of,
    warp_series,
    write_composite,
    write_series,
    write_volume,
)
from tests.spatial.geometries import GEOMETRIES, blocks, pattern, smooth_transform

GRID = GEOMETRIES["PIR"]


def values_of(shape: tuple[int, ...], dtype: str = "int16") -> np.ndarray:
    """Make frames that all differ on the grid."""
    base = pattern(GRID).values[..., None].astype(dtype)
    number = np.arange(np.prod(shape, dtype=int)).astype(dtype)
    return (base + number).reshape((*GRID.shape, *shape), order="F") if shape else base[..., 0]


def nifti(shape: tuple[int, ...], dtype: str = "int16", kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    return kind(values_of(shape, dtype), GRID.affine)


def itk(shape: tuple[int, ...]) -> sitk.Image:
    """Make an image on GRID with vectors along the last trailing axis, or without vectors if its length is 1."""
    write = [
        sitk.GetImageFromArray(values_of(shape)[:, :, :, time].transpose(2, 1, 0, 3), isVector=True)
        for time in range(shape[0])
    ]
    if shape[-1] == 1:
        write = [sitk.VectorIndexSelectionCast(image, 0) for image in write]
    origin, spacing, direction = GRID.itk_geometry
    for image in write:
        image.SetOrigin(origin)
        image.SetSpacing(spacing)
        image.SetDirection(direction)
    return sitk.JoinSeries(write, 3.0, 2.5)


def saved(image: object, path: Path) -> Path:
    sitk.WriteImage(image, str(path)) if isinstance(image, sitk.Image) else nib.save(image, path)
    return path


def monai(_: Path) -> MetaTensor:
    return MetaTensor(np.moveaxis(values_of((3,)), -1, 0).copy(), affine=GRID.affine)


CASES: dict[str, tuple[tuple[int, ...], Callable[[Path], object]]] = {
    "4-D file": ((3,), lambda folder: saved(nifti((3,)), folder / "a.nii.gz")),
    "4-D file without compression": ((3,), lambda folder: str(saved(nifti((3,)), folder / "a.nii"))),
    "NIfTI-2": ((3,), lambda folder: saved(nifti((3,), kind=nib.Nifti2Image), folder / "a.nii.gz")),
    "big-endian": ((3,), lambda folder: saved(nifti((3,), ">i2"), folder / "a.nii.gz")),
    "vectors in a file": ((1, 3), lambda folder: saved(nifti((1, 3)), folder / "a.nii.gz")),
    "times and channels": ((2, 3), lambda folder: saved(nifti((2, 3)), folder / "a.nii.gz")),
    "3-D file": ((), lambda folder: saved(nifti(()), folder / "a.nii.gz")),
    "3-D file of formats of ITK": ((), lambda folder: saved(sitk.ReadImage(str(saved(nifti(()), folder / "b.nii"))),
                                                            folder / "a.mha")),
    "trailing axes of length 1": ((3,), lambda folder: saved(nifti((3, 1)), folder / "a.nii.gz")),
    "nibabel from a file": ((3,), lambda folder: nib.load(saved(nifti((3,)), folder / "a.nii.gz"))),
    "nibabel in memory": ((2, 3), lambda _: nifti((2, 3))),
    "FreeSurfer": ((3,), lambda _: nib.MGHImage(values_of((3,)), GRID.affine)),
    "SimpleITK, vectors": ((3,), lambda _: itk((1, 3))[:, :, :, 0]),
    "SimpleITK, times": ((3,), lambda _: itk((3, 1))),
    "SimpleITK, times of vectors": ((2, 3), lambda _: itk((2, 3))),
    "SimpleITK file": ((2, 3), lambda folder: saved(itk((2, 3)), folder / "a.nrrd")),
    "MONAI": ((3,), monai),
    "MONAI without channel": ((), lambda _: MetaTensor(values_of(()), affine=GRID.affine)),
    "volume": ((), lambda _: pattern(GRID)),
}  # fmt: skip


def series_of(name: str, folder: Path) -> tuple[object, Series]:
    image = CASES[name][1](folder)
    return image, as_series(image, "moving")


@pytest.mark.parametrize("name", CASES)
def test_frames_of_every_type(name: str, tmp_path: Path) -> None:
    shape = CASES[name][0]
    image, series = series_of(name, tmp_path)
    assert series.axes.shape == shape
    np.testing.assert_allclose(series.grid.affine, GRID.affine, atol=1e-4)
    expected = values_of(shape).reshape((*GRID.shape, -1), order="F")
    for _ in range(2):  # a series can be read again
        frames = list(series.frames())
        assert len(frames) == len(series) == expected.shape[-1]
        for number, frame in enumerate(frames):
            assert np.array_equal(frame.values, expected[..., number])

    result = series_in_type_of(image, (frame.values.astype(np.int16) for frame in frames), GRID, series.axes)
    back = as_series(result, "warped")
    assert back.axes.shape == shape
    assert [frame.values.tolist() for frame in back.frames()] == [frame.values.tolist() for frame in frames]
    np.testing.assert_allclose(back.grid.affine, GRID.affine, atol=1e-4)
    assert type(result) is (nib.Nifti1Image if isinstance(image, (str, Path)) else type(image))
    if isinstance(image, MetaTensor):
        assert result.shape == image.shape
    if isinstance(image, sitk.Image):
        for get in ("GetSize", "GetOrigin", "GetSpacing", "GetNumberOfComponentsPerPixel"):
            np.testing.assert_allclose(getattr(result, get)(), getattr(image, get)())


def test_what_monai_loads_needs_its_channels_first(tmp_path: Path) -> None:
    saved(nifti((3,)), tmp_path / "a.nii.gz")
    saved(nifti(()), tmp_path / "one.nii.gz")
    loaded = LoadImage()(tmp_path / "a.nii.gz")
    with pytest.raises(
        InputError, match=r"moving image: has shape \(.*, 3\), with the channels last;.*EnsureChannelFirst"
    ):
        as_series(loaded, "moving")
    expected = np.moveaxis(loaded.numpy(), -1, 0)
    for image in (
        EnsureChannelFirst()(loaded),
        LoadImage(ensure_channel_first=True)(tmp_path / "a.nii.gz"),
    ):
        series = as_series(image, "moving")
        assert series.axes.shape == (3,)
        assert [frame.values.tolist() for frame in series.frames()] == expected.tolist()
    one = LoadImage()(tmp_path / "one.nii.gz")
    assert [frame.values.tolist() for frame in as_series(one, "moving").frames()] == [one.numpy().tolist()]


@pytest.mark.parametrize("name", ["4-D file", "3-D file", "times and channels", "SimpleITK, vectors", "MONAI"])
def test_frames_are_warped_as_images_are(name: str, tmp_path: Path) -> None:
    _, series = series_of(name, tmp_path)
    grid = GEOMETRIES["oblique"]
    warped = list(warp_series(smooth_transform(), grid, series))
    for frame, values in zip(series.frames(), warped, strict=True):
        expected = resample(smooth_transform(), grid, [frame]).images[0].values
        assert values.dtype == expected.dtype
        assert np.array_equal(values, expected)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_label_maps_are_warped_as_label_maps(interpolation: str) -> None:
    labels = blocks(GRID).values
    image = nib.Nifti1Image(np.stack([labels, 100 * labels], axis=-1).astype(np.float32), GRID.affine)
    grid = GEOMETRIES["oblique"]
    warped = list(warp_series(smooth_transform(), grid, as_series(image, "atlas"), True, interpolation))
    for factor, values in zip((1, 100), warped, strict=True):
        (expected,) = resample(smooth_transform(), grid, labels=[Volume(factor * labels, GRID)],
                               label_interpolation=interpolation).labels  # fmt: skip
        assert values.dtype == np.uint16  # fits the largest label of all frames
        assert np.array_equal(values, expected.values)


@pytest.mark.parametrize(
    ("dtype", "largest", "expected"),
    [("int16", 5, "int16"), ("uint8", 5, "uint8"), ("int32", 2**24, "int32"), ("int32", 2**24 + 1, "float32"),
     ("float64", 5, "float32"), (">i2", 5, "int16")],
)  # fmt: skip
def test_one_type_of_number_for_the_whole_series(dtype: str, largest: int, expected: str) -> None:
    values = np.ones((4, 5, 6, 3), dtype)
    values[1, 2, 3, 1] = largest
    series = as_series(nib.Nifti1Image(values, np.eye(4)), "moving")
    assert series_dtype(series) == expected
    half = np.eye(4)
    half[0, 3] = 0.5
    warped = list(warp_series(Transform(half), series.grid, series))
    assert {frame.dtype.name for frame in warped} == {expected}
    # Frames that the data type holds exactly are not rounded.
    assert warped[1][1, 2, 3] == pytest.approx((largest + 1) / 2, rel=1e-6, abs=0.5 if "i" in expected else 0)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64", "int64"])
def test_one_frame_is_the_same_bytes_as_a_volume(dtype: str, ending: str, tmp_path: Path) -> None:
    volume = Volume(pattern(GRID).values.astype(dtype), GRID)
    write_volume(volume, tmp_path / f"volume{ending}")
    write_series([volume.values], tmp_path / f"series{ending}", GRID)
    assert (tmp_path / f"series{ending}").read_bytes() == (tmp_path / f"volume{ending}").read_bytes()


def test_steps_in_time_and_intents_are_kept(tmp_path: Path) -> None:
    image = nifti((3,))
    image.header.set_zooms((*image.header.get_zooms()[:3], 0.72))
    image.header.set_xyzt_units("mm", "sec")
    vectors = nifti((1, 3))
    vectors.header.set_intent("vector")
    for name, source in {"bold": image, "vectors": vectors}.items():
        series = as_series(saved(source, tmp_path / f"{name}.nii.gz"), "moving")
        frames = [frame.values for frame in series.frames()]
        write_series(frames, tmp_path / "out.nii.gz", GRID, series.axes)
        for result in (nib.load(tmp_path / "out.nii.gz"), series_in_type_of(source, frames, GRID, series.axes)):
            assert np.array_equal(np.asanyarray(result.dataobj), np.asanyarray(source.dataobj))
            assert result.header.get_zooms()[3:] == source.header.get_zooms()[3:]
            assert result.header.get_intent() == source.header.get_intent()
            assert result.header.get_xyzt_units() == ("mm", source.header.get_xyzt_units()[1])
    freesurfer = nib.MGHImage(values_of((3,)), GRID.affine)
    freesurfer.header.set_zooms((*freesurfer.header.get_zooms()[:3], 720))
    series = as_series(freesurfer, "moving")
    result = series_in_type_of(freesurfer, [frame.values for frame in series.frames()], GRID, series.axes)
    assert result.header.get_zooms()[3] == 720


def test_scaling_is_that_of_a_whole_file(tmp_path: Path) -> None:
    image = nifti((3,))
    image.header.set_slope_inter(0.25, -1000)
    for ending in (".nii", ".nii.gz"):
        loaded = nib.load(saved(image, tmp_path / f"a{ending}"))
        expected = np.asanyarray(loaded.dataobj)
        for source in (tmp_path / f"a{ending}", loaded):
            for number, frame in enumerate(as_series(source, "moving").frames()):
                assert frame.values.dtype == expected.dtype
                assert np.array_equal(frame.values, expected[..., number])


def test_bad_series_are_refused(tmp_path: Path) -> None:
    holes = values_of((3,), "float32")
    holes[1, 2, 3, 1] = np.nan
    cut = saved(nifti((3,)), tmp_path / "cut.nii.gz")
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    wrong = tmp_path / "wrong.nii.gz"
    wrong.write_bytes(content[:-8] + b"\0" * 8)
    sheared = GRID.affine.copy()
    sheared[0, :3] += 1
    (tmp_path / "text.nii.gz").write_text("text")
    images = {
        r"moving image, frame 2: 1 voxels are NaN": nib.Nifti1Image(holes, GRID.affine),
        r"cut.nii.gz: the file is damaged or cut short": cut,
        r"wrong.nii.gz: the file is damaged or cut short": wrong,
        r"text.nii.gz: not a NIfTI file": tmp_path / "text.nii.gz",
        r"gone.nii.gz: no such file": tmp_path / "gone.nii.gz",
        r"not at right angles": nib.Nifti1Image(values_of((3,)), sheared),
        r"of type complex64": nib.Nifti1Image(values_of((3,), "complex64"), GRID.affine),
        r"which is empty": nib.Nifti1Image(np.zeros((4, 5, 6, 0), np.float32), np.eye(4)),
        r"3-D volume": nib.Nifti1Image(np.zeros((4, 5), np.float32), np.eye(4)),
        r"has 2 dimensions": sitk.GetImageFromArray(np.zeros((4, 5))),
        r"array without an affine": values_of((3,)),
    }
    for message, image in images.items():
        with pytest.raises(InputError, match=message):
            list(as_series(image, "moving").frames())
    with pytest.raises(InputError, match="frame 1: a label map holds whole numbers from 0"):
        series_dtype(as_series(nifti((3,)), "atlas"), labels=True)


def test_a_series_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    frame = pattern(GRID).values
    for frames in ([frame, frame], [frame] * 4, [frame, frame[:-1], frame], [frame, frame.astype(float), frame]):
        with pytest.raises(ValueError, match=r"frames|Frame"):
            write_series(frames, tmp_path / "series.nii.gz", GRID, TrailingAxes((3,), (0.0,)))
    assert not list(tmp_path.iterdir())


def peak_of_applying(folder: Path, num_frames: int, labels: bool, ending: str) -> int:
    """Apply a transform to a file of a number of frames, and return the peak of Python's memory in bytes."""
    grid = Grid((24, 24, 24), np.diag([2.0, 2, 2, 1]))
    frame = (np.arange(24**3).reshape(grid.shape) % 200).astype(np.uint8 if labels else np.float32)
    path = folder / f"series{num_frames}{ending}"
    write_series((frame for _ in range(num_frames)), path, grid, TrailingAxes((num_frames,)))
    write_composite(Transform(), folder / "transform.tfm")
    write_volume(Volume(frame, grid), folder / "reference.nii.gz")
    files = ([], [path]) if labels else ([path], [])
    tracemalloc.start()
    apply_transform(
        folder / "transform.tfm", folder / "reference.nii.gz", *files, [], folder / "out", "nearest", "LPS", "cpu"
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    result = nib.load(folder / "out" / f"series{num_frames}.nii.gz")
    assert result.shape == (*grid.shape, num_frames)
    np.testing.assert_allclose(np.asanyarray(result.dataobj[..., -1]), frame, atol=1e-3)
    return peak


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("labels", [False, True])
def test_memory_does_not_grow_with_the_number_of_frames(labels: bool, ending: str, tmp_path: Path) -> None:
    peak_of_applying(tmp_path, 2, labels, ending)  # what is imported or cached at first use
    few, many = (peak_of_applying(tmp_path, number, labels, ending) for number in (4, 64))
    frame_bytes = 24**3 * (1 if labels else 4)
    assert many < few + 2 * frame_bytes


def test_nothing_is_written_if_one_frame_is_bad(tmp_path: Path) -> None:
    write_composite(Transform(), tmp_path / "transform.tfm")
    good = saved(nifti(()), tmp_path / "good.nii.gz")
    holes = values_of((3,), "float32")
    holes[..., 2] = np.inf
    bad = saved(nib.Nifti1Image(holes, GRID.affine), tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=r"bad.nii.gz, frame 3: \d+ voxels are NaN"):
        apply_transform(
            tmp_path / "transform.tfm", good, [good, bad], [], [], tmp_path / "out", "nearest", "LPS", "cpu"
        )
    assert not (tmp_path / "out").exists()


def test_sacb_apply_takes_series(tmp_path: Path) -> None:
    write_composite(Transform(), tmp_path / "transform.tfm")
    labels = np.stack([blocks(GRID).values, 1 + blocks(GRID).values], axis=-1).astype(np.uint8)
    saved(nifti((3,)), tmp_path / "bold.nii.gz")
    saved(nib.Nifti1Image(labels, GRID.affine), tmp_path / "atlas.nii.gz")
    saved(itk((1, 3))[:, :, :, 0], tmp_path / "channels.mha")
    write_volume(pattern(GRID), tmp_path / "fixed.nii.gz")
    arguments = ["--transform", tmp_path / "transform.tfm", "--reference", tmp_path / "fixed.nii.gz", "--device", "cpu"]
    arguments += ["--input", tmp_path / "bold.nii.gz", tmp_path / "channels.mha", "--labels", tmp_path / "atlas.nii.gz"]
    assert main(["apply", *map(str, arguments), "--output", str(tmp_path / "out")]) == 0
    for name, expected in {"bold": values_of((3,)), "channels": values_of((3,)), "atlas": labels}.items():
        values = np.asanyarray(nib.load(tmp_path / "out" / f"{name}.nii.gz").dataobj)
        assert values.dtype == expected.dtype
        assert np.abs(values.astype(int) - expected).max() <= (0 if name == "atlas" else 1)


def test_a_series_cannot_be_registered() -> None:
    with pytest.raises(InputError, match="give the series to `sacb apply`"):
        as_volume(nifti((3,)), "moving")
