"""Transforms, their inverses, their files, and the points and images that they move."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from sacb_bundle.errors import InputError
from sacb_bundle.spatial import (
    DisplacementField,
    Grid,
    Transform,
    Volume,
    averaged,
    inverse_error,
    invert,
    read_transform,
    resample,
    warp_points,
    with_points_moved,
    write_composite,
    write_displacement,
    write_learn2reg,
)
from tests.spatial.geometries import GEOMETRIES, blocks, grid, indices, pattern, smooth, smooth_transform


def test_voxels_and_millimetres() -> None:
    on = grid("PIR", spacing=(1, 2, 4))
    field = torch.zeros(3, *on.shape)
    field[0] = 1  # one voxel along the first axis, towards posterior
    displacement = DisplacementField.from_voxels(field, on)
    np.testing.assert_allclose(displacement.vectors[:, 3, 3, 3], [0, -2, 0])
    torch.testing.assert_close(displacement.in_voxels_of(on), field)


def test_a_field_goes_on_beyond_its_border() -> None:
    displacement = smooth_transform().displacement
    assert displacement is not None
    covering = displacement.covering(Grid((10, 10, 10), np.diag([30.0, 30, 30, 1])))
    assert covering.grid.encloses(Grid((10, 10, 10), np.diag([30.0, 30, 30, 1])))
    points = np.array([[0.0, 0, 0], [200, 10, 20], [-100, -90, 300]])
    positions = torch.from_numpy(points.T).float().reshape(3, 1, 1, -1)
    torch.testing.assert_close(covering.at(positions), displacement.at(positions), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_inverse(name: str) -> None:
    transform, on = smooth_transform(), GEOMETRIES[name]
    large = Grid((60, 60, 60), np.diag([2.0, 2, 2, 1]))
    large.affine[:3, 3] = (-55, -67, -48)
    inverse = invert(transform, large)
    error = inverse_error(transform, inverse, on)
    summary = error.summary()
    assert summary["checked"] == 1
    assert summary["mean_mm"] < 0.02
    assert summary["max_mm"] < 0.1
    points = on.to_world(indices(on.shape)[::501])
    np.testing.assert_allclose(warp_points(transform, transform.map_points(points)), points, atol=0.01)


def test_the_error_of_an_inverse_is_measured_and_not_assumed() -> None:
    transform, on = smooth_transform(), GEOMETRIES["RAS"]
    wrong = DisplacementField(torch.full((3, 60, 60, 60), 1.0), Grid((60, 60, 60), np.diag([3.0, 3, 3, 1])))
    assert inverse_error(transform, wrong, on).summary()["mean_mm"] > 1
    far = Grid((4, 4, 4), np.eye(4))
    far.affine[:3, 3] = 1000
    elsewhere = inverse_error(transform, DisplacementField(torch.zeros(3, 4, 4, 4), far), on)
    assert (elsewhere.error == -1).all()
    with pytest.raises(InputError, match="give the moving image as reference"):
        elsewhere.summary()


def test_a_strong_rotation_is_inverted() -> None:
    turned = np.array([[0, -1, 0, 5], [1, 0, 0, 3], [0, 0, 1.0, 2], [0, 0, 0, 1]])
    transform = Transform(turned, smooth_transform().displacement)
    points = GEOMETRIES["RAS"].to_world(indices(GEOMETRIES["RAS"].shape)[::503])
    np.testing.assert_allclose(warp_points(transform, transform.map_points(points)), points, atol=0.01)


def test_a_point_whose_place_is_not_found_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacb_bundle.spatial.inverse.MAX_ITERATIONS", 0)
    with pytest.raises(
        InputError, match=r"Point 2 at \(5, 0, 10\) mm RAS has no counterpart in the fixed image that could be found"
    ):
        warp_points(Transform(displacement=spike()), np.array([[-300.0, 0, 0], [5, 0, 10]]))


@pytest.mark.parametrize("far", [1e39, 1e30])
def test_a_point_beyond_what_numbers_hold_is_an_error(far: float) -> None:
    with pytest.raises(InputError, match="Point 1 at"):
        warp_points(smooth_transform(), np.array([[far, 0, 0]]))


def test_any_voxel_that_is_reached_counts() -> None:
    fixed, far = Grid((64, 64, 64), np.eye(4)), Grid((64, 64, 64), np.eye(4))
    far.affine[:3, 3] = 200
    voxel = Grid((2, 2, 2), np.diag([0.3, 0.3, 0.3, 1]))
    voxel.affine[:3, 3] = (31.9, 8.9, 40.9)
    assert Transform().reaches(fixed, voxel)
    assert not Transform().reaches(fixed, far)


def spike() -> DisplacementField:
    """Make a field that is zero except at one voxel."""
    vectors = torch.zeros(3, 9, 9, 9)
    vectors[:, 4, 4, 4] = 4
    return DisplacementField(
        vectors, Grid((9, 9, 9), np.array([[4.0, 0, 0, -11], [0, 4, 0, -16], [0, 0, 4, -6], [0, 0, 0, 1]]))
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".h5", ".tfm"])
def test_files_give_back_what_was_written(ending: str, tmp_path: Path) -> None:
    transform, on = smooth_transform(), GEOMETRIES["PIR"]
    path = tmp_path / f"transform{ending}"
    if ending == ".nii.gz":
        write_displacement(resample(transform, on).displacement, path)
    else:
        write_composite(transform, path)
    points = on.to_world(indices(on.shape)[::97])
    np.testing.assert_allclose(read_transform(path).map_points(points), transform.map_points(points), atol=2e-3)
    write_composite(Transform(transform.affine), tmp_path / "affine.tfm")
    np.testing.assert_allclose(read_transform(tmp_path / "affine.tfm").affine, transform.affine, atol=1e-9)


def test_learn2reg_field_pulls_voxels(tmp_path: Path) -> None:
    fixed, moving = GEOMETRIES["LPS"], GEOMETRIES["oblique"]
    transform = smooth_transform()
    write_learn2reg(resample(transform, fixed).displacement, moving, tmp_path / "disp.nii.gz")
    field = np.asarray(nib.load(tmp_path / "disp.nii.gz").dataobj)
    assert field.shape == (*fixed.shape, 3)
    expected = moving.to_index(transform.map_points(fixed.to_world(indices(fixed.shape))))
    np.testing.assert_allclose(indices(fixed.shape) + field.reshape(-1, 3), expected, atol=2e-3)
    with pytest.raises(InputError, match="looks like a Learn2Reg field"):
        read_transform(tmp_path / "disp.nii.gz")


def test_what_is_no_transform_is_refused(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6)), np.eye(4)), tmp_path / "image.nii.gz")
    (tmp_path / "text.tfm").write_text("hello")
    (tmp_path / "table.csv").write_text("1,2")
    sitk.WriteTransform(sitk.Euler2DTransform(), str(tmp_path / "flat.tfm"))
    bspline = sitk.BSplineTransform(3)
    sitk.WriteTransform(bspline, str(tmp_path / "bspline.tfm"))
    write_composite(Transform(np.diag([1.0, 1, 0, 1])), tmp_path / "flattening.tfm")
    holes = DisplacementField(torch.full((3, 4, 5, 6), torch.nan), Grid((4, 5, 6), np.eye(4)))
    write_composite(Transform(displacement=holes), tmp_path / "holes.h5")
    positions = nib.Nifti1Image(np.zeros((4, 5, 6, 1, 3), np.float32), np.eye(4))
    positions.header.set_intent("vector", name="Mapping")
    nib.save(positions, tmp_path / "positions.nii.gz")
    for name, message in {
        "image.nii.gz": r"not a displacement field; its shape is \(4, 5, 6\)",
        "text.tfm": "not an ITK transform",
        "table.csv": "not a transform",
        "flat.tfm": "2 dimensions",
        "bspline.tfm": "holds a BSplineTransform",
        "flattening.tfm": "its affine transform has no inverse",
        "holes.h5": "displacements are NaN or infinite",
        "positions.nii.gz": "holds positions",
        "nothing.h5": "no such file",
        ".": "is a folder; a file is needed",
    }.items():
        with pytest.raises(InputError, match=message):
            read_transform(tmp_path / name)


def test_labels_by_vote_are_those_of_interpolated_indicators() -> None:
    on = GEOMETRIES["oblique"]
    labels = blocks(GEOMETRIES["RAS"])
    transform = smooth_transform()
    voted = resample(transform, on, labels=[labels], label_interpolation="linear").labels[0].values
    indicators = [
        Volume((labels.values == label).astype(np.float32), labels.grid) for label in np.unique(labels.values)
    ]
    scores = np.stack([image.values for image in resample(transform, on, indicators).images])
    chosen = np.unique(labels.values)[scores.argmax(axis=0)]
    clear = np.sort(scores, axis=0)[-1] - np.sort(scores, axis=0)[-2] > 1e-3
    assert (voted == chosen)[clear].all()
    assert clear.mean() > 0.5


def test_outside_is_the_minimum_of_an_image_and_no_label() -> None:
    far = np.eye(4)
    far[0, 3] = 1000
    image = pattern(GEOMETRIES["RAS"])
    result = resample(Transform(far), GEOMETRIES["RAS"], [image], [blocks(GEOMETRIES["RAS"])])
    assert (result.images[0].values == image.values.min()).all()
    assert (result.labels[0].values == 0).all()


@pytest.mark.parametrize("shape", [(30, 31, 33), (4, 5, 7)])
def test_averages_lie_where_their_voxels_lay(shape: tuple[int, ...]) -> None:
    """The mean of a linear image over a block is the value at its centre."""
    fine = Grid(shape, np.array([[0, -1, 0, 7], [1.0, 0, 0, 3], [0, 0, 1, -5], [0, 0, 0, 1]]))
    x, y, z = fine.to_world(indices(shape)).T
    coarse = averaged(Volume((x + 2 * y - 3 * z).reshape(shape), fine), 2.0)
    assert coarse.grid.spacing == (2, 2, 2)
    x, y, z = coarse.grid.to_world(indices(coarse.grid.shape)).T
    whole = tuple(slice(0, size // 2) for size in shape)
    np.testing.assert_allclose(coarse.values[whole], (x + 2 * y - 3 * z).reshape(coarse.values.shape)[whole], atol=1e-4)


def test_integers_too_large_for_fp32_become_fp32() -> None:
    values = np.zeros((4, 4, 4), np.uint32)
    values[1] = 2**32 - 1
    on = Grid((4, 4, 4), np.eye(4))
    warped = resample(Transform(), on, [Volume(values, on), Volume(values // 2**10, on)]).images
    assert [image.values.dtype for image in warped] == [np.float32, np.uint32]
    np.testing.assert_allclose(warped[0].values, values, rtol=1e-6)


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_points_of_a_csv(space: str, tmp_path: Path) -> None:
    signs = np.array([-1, -1, 1]) if space == "LPS" else 1
    there = np.array([[1.0, 2, 3], [-4, 5, 6]])
    (tmp_path / "points.csv").write_text(
        "name,x,y,z\n" + "\n".join(f"p{n},{x},{y},{z}" for n, (x, y, z) in enumerate(there * signs))
    )
    moved = with_points_moved(tmp_path / "points.csv", lambda points: points + np.array([10, 20, 30]), space)
    lines = moved.splitlines()
    assert lines[0] == "name,x,y,z"
    assert lines[1].startswith("p0,")
    values = np.array([[float(value) for value in line.split(",")[1:]] for line in lines[1:]])
    np.testing.assert_allclose(values * signs, there + np.array([10, 20, 30]))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_a_csv_end_as_they_did(end: str, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_bytes(f"x,y,z{end}1,2,3{end}".encode())
    text = with_points_moved(tmp_path / "points.csv", lambda points: points, "LPS")
    assert text == f"x,y,z{end}1.000000,2.000000,3.000000{end}"


def markup(space: str, *points: dict, **others: object) -> dict:
    return {"type": "Fiducial", "coordinateSystem": space, "controlPoints": list(points)} | others


def test_points_of_slicer(tmp_path: Path) -> None:
    placed = [{"id": "1", "label": "F-1", "position": position} for position in ([-1.0, -2, 3], [1.0, 2, 3])]
    unplaced = [
        {"id": "2", "position": "", "positionStatus": "undefined"},
        {"id": "3", "position": [0, 0, 0], "positionStatus": "missing"},
    ]
    content = {
        "markups": [
            markup("LPS", placed[0], *unplaced, coordinateUnits="mm"),
            markup("RAS", placed[1], type="Line", measurements=[{"name": "length", "value": 7}]),
        ]
    }
    (tmp_path / "points.mrk.json").write_text(json.dumps(content))
    moved = json.loads(
        with_points_moved(tmp_path / "points.mrk.json", lambda points: points + np.array([1, 0, 0]), "LPS")
    )
    first, second = moved["markups"]
    assert first["controlPoints"] == [placed[0] | {"position": [-2, -2, 3]}, *unplaced]
    assert second["controlPoints"][0]["position"] == [2, 2, 3]
    assert "measurements" not in second


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("points.csv", "a,b,c\n1,2,3\n", "has no column x and no column y and no column z"),
        ("points.csv", "x,y,z\n", "at least one point"),
        ("points.csv", "x,y,z\n1,2,3\n1,two,3\n", "line 3: 'two' is not a coordinate"),
        ("points.mrk.json", "{}", "not a 3D Slicer markups file"),
        ("points.mrk.json", '{"markups": ' + "[" * 100_000, "not valid JSON"),
        ("points.csv", "x,y,z,X\n1,2,3,4\n", "has a column twice"),
        ("points.csv", 'n,x,y,z\n"two\nlines",1,2,3\n"a",1,two,3\n', "line 4: 'two' is not a coordinate"),
        ("points.csv", "x,y,z\n1,2,3,4\n", "line 2: has more cells than there are columns"),
        ("points.csv", "x,y,z,n\n1,2,3,M\udcfcller\n", "not UTF-8 text"),
        ("points.mrk.json", '{"markups": []}', "at least one control point"),
        ("points.mrk.json", json.dumps({"markups": [markup("LPS", {"id": "1"})]}), "has no position"),
        (
            "points.mrk.json",
            json.dumps({"markups": [markup("LPS", {"position": [1, float("nan"), 2]})]}),
            "three numbers",
        ),
        (
            "points.mrk.json",
            json.dumps({"markups": [markup("LPS", {"position": [1, 2, 3, 4, 5, 6]})]}),
            "three numbers",
        ),
        (
            "points.mrk.json",
            json.dumps({"markups": [markup("LPS", type="ROI")]}),
            "holds a ROI, which is not defined by points",
        ),
        ("points.mrk.json", json.dumps({"markups": [markup("IJK")]}), "coordinates in IJK, mm"),
        ("points.mrk.json", json.dumps({"markups": [markup("LPS", coordinateUnits="cm")]}), "coordinates in LPS, cm"),
    ],
)
def test_bad_points_are_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        with_points_moved(tmp_path / name, lambda points: points, "LPS")


def test_smooth_places() -> None:
    """The deformation in these tests is not trivial."""
    assert 2 < np.abs(smooth(GEOMETRIES["RAS"].corners)).max() < 8
