"""Compare images, labels and points warped with our transforms by SimpleITK and ANTs with ours."""

from __future__ import annotations

from pathlib import Path

import ants
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from sacb_bundle.spatial import (
    Grid,
    Transform,
    read_transform,
    read_volume,
    resample,
    warp_points,
    write_composite,
    write_displacement,
    write_volume,
)
from tests.spatial.geometries import GEOMETRIES, blocks, indices, pattern, smooth_transform

LPS = np.array([-1, -1, 1])


class Files:
    """A fixed grid in one geometry, a moving image in another, and the transform between them, as files."""

    def __init__(self, folder: Path, fixed: Grid, moving: Grid) -> None:
        self.fixed, self.moving = fixed, moving
        self.paths = {name: folder / f"{name}.nii.gz" for name in ("fixed", "moving", "labels", "transform")}
        self.composite = folder / "transform.h5"
        write_volume(pattern(fixed), self.paths["fixed"])
        write_volume(pattern(moving), self.paths["moving"])
        write_volume(blocks(moving), self.paths["labels"])
        transform = smooth_transform()
        write_displacement(resample(transform, fixed).displacement, self.paths["transform"])
        write_composite(transform, self.composite)

    def index(self, transform: Transform) -> np.ndarray:
        """Return the indices (D, H, W, 3) in the moving image to which the transform maps the fixed voxels."""
        index = self.moving.to_index(transform.map_points(self.fixed.to_world(indices(self.fixed.shape))))
        return index.reshape(*self.fixed.shape, 3)

    def inside(self, transform: Transform, margin: float) -> np.ndarray:
        """Return a mask of the fixed voxels that the transform maps into the moving image, away from its border."""
        index = self.index(transform)
        return ((index > margin) & (index < np.array(self.moving.shape) - 1 - margin)).all(axis=3)

    def points(self) -> np.ndarray:
        """Return points in the fixed image, in mm, RAS."""
        generator = np.random.default_rng(0)
        return self.fixed.to_world(generator.uniform(0.5, np.array(self.fixed.shape) - 1.5, (200, 3)))


@pytest.fixture(params=GEOMETRIES, scope="module")
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    names = list(GEOMETRIES)
    moving = names[(names.index(request.param) + 3) % len(names)]
    return Files(tmp_path_factory.mktemp("files"), GEOMETRIES[request.param], GEOMETRIES[moving])


def itk_array(image: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


def itk_transform(path: Path) -> sitk.Transform:
    if path.suffix == ".h5":
        return sitk.ReadTransform(str(path))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))


@pytest.mark.parametrize("form", ["field", "composite"])
def test_simpleitk_warps_as_we_do(files: Files, form: str) -> None:
    path = files.paths["transform"] if form == "field" else files.composite
    transform = read_transform(path)
    fixed, moving, labels = (sitk.ReadImage(str(files.paths[name])) for name in ("fixed", "moving", "labels"))
    theirs = itk_array(sitk.Resample(sitk.Cast(moving, sitk.sitkFloat32), fixed, itk_transform(path), sitk.sitkLinear))
    image = read_volume(files.paths["moving"])
    ours = resample(transform, files.fixed, [image]).images[0].values
    inside = files.inside(transform, margin=0.01)
    assert inside.mean() > 0.3
    # Our result is rounded to the image's integers.
    assert np.abs(ours - theirs)[inside].max() <= 0.5 + 1e-3 * np.ptp(image.values)

    theirs = itk_array(sitk.Resample(labels, fixed, itk_transform(path), sitk.sitkNearestNeighbor))
    ours = resample(transform, files.fixed, labels=[blocks(files.moving)]).labels[0].values
    # Rounding decides on the nearest voxel only at midpoints between two.
    index = files.index(transform)
    clear = inside & (np.abs(index - np.floor(index) - 0.5) > 0.01).all(axis=3)
    assert clear.sum() > 0.9 * inside.sum()
    assert (ours == theirs)[clear].all()


@pytest.mark.parametrize("form", ["field", "composite"])
def test_simpleitk_maps_points_as_we_do(files: Files, form: str) -> None:
    path = files.paths["transform"] if form == "field" else files.composite
    transform, theirs = read_transform(path), itk_transform(path)
    points = files.points()
    expected = np.array([theirs.TransformPoint((point * LPS).tolist()) for point in points]) * LPS
    assert np.abs(transform.map_points(points) - expected).max() < 0.01 * min(files.fixed.spacing)
    # Warping points to the fixed image inverts the transform.
    np.testing.assert_allclose(warp_points(transform, expected), points, atol=0.01 * min(files.fixed.spacing))


def test_ants_warps_as_we_do(files: Files) -> None:
    fixed, moving = (ants.image_read(str(files.paths[name])) for name in ("fixed", "moving"))
    path = str(files.paths["transform"])
    theirs = ants.apply_transforms(fixed, moving, [path], interpolator="linear").numpy()
    transform = read_transform(path)
    image = read_volume(files.paths["moving"])
    ours = resample(transform, files.fixed, [image]).images[0].values
    inside = files.inside(transform, margin=0.01)
    assert np.abs(ours - theirs)[inside].max() <= 0.5 + 1e-3 * np.ptp(image.values)


def test_ants_maps_points_as_we_do(files: Files) -> None:
    path = str(files.paths["transform"])
    points = files.points()
    table = pd.DataFrame(points * LPS, columns=["x", "y", "z"])
    expected = ants.apply_transforms_to_points(3, table, [path])[["x", "y", "z"]].to_numpy() * LPS
    assert np.abs(read_transform(path).map_points(points) - expected).max() < 0.01 * min(files.fixed.spacing)


def test_the_field_says_the_same_of_the_world_in_every_orientation(files: Files) -> None:
    """A transform resampled to a fixed image in any orientation equals the original."""
    points = files.points()
    difference = read_transform(files.paths["transform"]).map_points(points) - smooth_transform().map_points(points)
    # The rest is the error of linear interpolation of a curved field between voxels up to 5 mm apart.
    assert np.abs(difference).max() < 0.2
    corners = files.fixed.to_world(indices(files.fixed.shape)[::97])
    difference = read_transform(files.paths["transform"]).map_points(corners) - smooth_transform().map_points(corners)
    assert np.abs(difference).max() < 1e-3


@pytest.mark.parametrize("shift", [-0.9, -0.4, 0.3, 0.6, 1.1])
def test_borders_are_those_of_simpleitk(shift: float, tmp_path: Path) -> None:
    """Compare every voxel, including those that map half a voxel beyond the outermost ones, and further."""
    moving = pattern(GEOMETRIES["RAS"])
    affine = np.eye(4)
    affine[:3, 3] = shift * np.array(moving.grid.spacing)
    write_composite(Transform(affine), tmp_path / "shift.tfm")
    write_volume(moving, tmp_path / "moving.nii.gz")
    image = sitk.Cast(sitk.ReadImage(str(tmp_path / "moving.nii.gz")), sitk.sitkFloat32)
    transform = sitk.ReadTransform(str(tmp_path / "shift.tfm"))
    least = float(moving.values.min())
    theirs = itk_array(sitk.Resample(image, image, transform, sitk.sitkLinear, least))
    ours = resample(Transform(affine), moving.grid, [moving]).images[0].values
    assert np.abs(ours - theirs).max() < 0.51


def test_composites_are_read_in_their_order(tmp_path: Path) -> None:
    turn, stretch = sitk.Euler3DTransform((3, 4, 5), 0.3, -0.2, 0.1), sitk.ScaleTransform(3, (1.1, 0.9, 1.2))
    write_composite(smooth_transform(), tmp_path / "inner.h5")
    inner = sitk.CompositeTransform(sitk.ReadTransform(str(tmp_path / "inner.h5")))
    theirs = sitk.CompositeTransform([turn, stretch, inner.GetNthTransform(0), inner.GetNthTransform(1)])
    sitk.WriteTransform(theirs, str(tmp_path / "transform.h5"))
    points = np.random.default_rng(0).uniform(-30, 30, (50, 3))
    expected = np.array([theirs.TransformPoint((point * LPS).tolist()) for point in points]) * LPS
    np.testing.assert_allclose(read_transform(tmp_path / "transform.h5").map_points(points), expected, atol=1e-3)
