from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from sacb_bundle.spatial import itk
from sacb_bundle.spatial.volume_files import volume_of_itk
from tests.spatial.geometries import GEOMETRIES, indices, pattern, rotation, smooth_transform

LPS = np.array([-1, -1, 1])


@pytest.mark.parametrize("name", GEOMETRIES)
def test_images_lie_at_the_same_place_in_the_world(name: str) -> None:
    volume = pattern(GEOMETRIES[name])
    image = itk.itk_image(volume)
    index = (3, 4, 5)
    place = np.array(image.TransformIndexToPhysicalPoint(index)) * LPS
    np.testing.assert_allclose(place, volume.grid.to_world(np.array([index]))[0])
    assert image[index] == volume.values[index]
    back = volume_of_itk(image, "image")
    assert np.array_equal(back.values, volume.values)
    assert back.values.dtype == volume.values.dtype
    np.testing.assert_allclose(back.grid.affine, volume.grid.affine, atol=1e-9)


def test_fields_and_affine_transforms_move_points_as_ours_do() -> None:
    displacement = smooth_transform().displacement
    assert displacement is not None
    field = itk.itk_field(displacement)
    back = itk.of_itk_field(field)
    torch.testing.assert_close(back.vectors, displacement.vectors)
    np.testing.assert_allclose(back.grid.affine, displacement.grid.affine, atol=1e-9)
    point = displacement.grid.to_world(indices(displacement.grid.shape)[5003:5004])[0]
    vector = np.array(field[field.TransformPhysicalPointToIndex((point * LPS).tolist())]) * LPS
    np.testing.assert_allclose(vector, displacement.vectors.reshape(3, -1)[:, 5003], atol=1e-6)

    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(20, 1) @ np.diag([1.1, 0.9, 1]), (3, -4, 5)
    transform = itk.itk_affine(matrix)
    moved = np.array(transform.TransformPoint((point * LPS).tolist())) * LPS
    np.testing.assert_allclose(moved, matrix[:3, :3] @ point + matrix[:3, 3])
    np.testing.assert_allclose(itk.to_ras(transform), matrix, atol=1e-9)


def test_the_grid_of_a_series_is_that_of_its_frames() -> None:
    frame = itk.itk_image(pattern(GEOMETRIES["oblique"]))
    grid = itk.itk_grid(sitk.JoinSeries([frame, frame]))
    assert grid.shape == GEOMETRIES["oblique"].shape
    np.testing.assert_allclose(grid.affine, GEOMETRIES["oblique"].affine, atol=1e-9)
