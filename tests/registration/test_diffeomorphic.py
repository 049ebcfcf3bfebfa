from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sacb_bundle import InputError, Registrar
from sacb_bundle.commands import main
from sacb_bundle.data import phantom_images
from sacb_bundle.metrics import non_diffeomorphic_volume
from sacb_bundle.registration.result import Registration
from sacb_bundle.spatial import Grid, Volume


@pytest.fixture(scope="module")
def plain() -> Registration:
    """A phantom of other spacing, turned, registered affinely, and its labels."""
    fixed, moving = (image.values for image in phantom_images((48, 48, 40)))
    angle = 0.1
    turned = 2 * np.eye(4)
    turned[:2, :2] = 2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turned[:, 3] = 5, -3, 2, 1
    grids = {"fixed": Grid(fixed.shape, np.diag([2.0, 2.0, 2.0, 1.0])), "moving": Grid(moving.shape, turned)}
    images = {"fixed": Volume(fixed, grids["fixed"]), "moving": Volume(moving, grids["moving"])}
    labels = {
        f"{role}_labels": Volume((image.values > np.median(image.values)).astype(np.int32), image.grid)
        for role, image in images.items()
    }
    return Registrar("brain_t1", device="cpu", spacing=2.0)(**images, **labels)


def diffeomorphic(plain: Registration, field: torch.Tensor) -> Registration:
    """Return the registration of the same pair by another field, made diffeomorphic."""
    return Registration(plain.pair, plain.prepared, field, diffeomorphic=True)


def test_dice_stays_and_points_return(plain: Registration) -> None:
    result = diffeomorphic(plain, plain.field)
    assert not result.alignment_alone
    measures, before = result.measures(), plain.measures()
    assert measures["folding_percent"] == 0
    assert measures["dice_after"] == pytest.approx(before["dice_after"], abs=0.003)
    assert measures["inverse_error_mean_voxels"] < 0.1
    assert measures["inverse_error_p99_voxels"] < 0.5
    assert before["inverse_error_mean_voxels"] is before["inverse_error_p99_voxels"] is None
    grid = result.prepared.grid
    index = np.argwhere(result.prepared.images[1] > 0.05)
    places = grid.to_world(np.concatenate([index, index + 0.5]))
    there = result.transform.map_points(places)
    inside = result.pair.moving.grid.contains(there)
    errors = np.linalg.norm(result.inverse().map_points(there) - places, axis=1)[inside] / 2.0
    assert errors.mean() == pytest.approx(measures["inverse_error_mean_voxels"], rel=0.02)


def test_the_inverse_is_written_beside_the_transform(plain: Registration, tmp_path: Path) -> None:
    assert "inverse" not in plain.save(tmp_path / "plain")
    result = diffeomorphic(plain, plain.field)
    written = result.save(tmp_path / "out")
    assert written["inverse"] == tmp_path / "out" / "inverse.nii.gz"
    record = json.loads((tmp_path / "out" / "case.json").read_text())
    assert "inverse.nii.gz" in record["results"]
    assert record["measures"]["inverse_error_mean_voxels"] < 0.1


def test_a_rough_field_and_its_inverse_do_not_fold(plain: Registration) -> None:
    noise = torch.randn(1, 3, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    noise = F.interpolate(noise, size=plain.field.shape[1:], mode="trilinear", align_corners=True)[0]
    result = diffeomorphic(plain, plain.field + 0.8 * noise)
    assert non_diffeomorphic_volume(plain.field + 0.8 * noise) > 0
    assert non_diffeomorphic_volume(result.field) == 0
    inverse = result.inverse().displacement
    assert inverse is not None
    assert non_diffeomorphic_volume(inverse.in_voxels_of(inverse.grid)) == 0
    measures = result.measures()
    assert measures["inverse_error_mean_voxels"] < 0.1
    assert measures["inverse_error_p99_voxels"] < 0.5


def test_a_field_that_does_not_help_is_left_out_both_ways(plain: Registration) -> None:
    noise = torch.randn(1, 3, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    noise = F.interpolate(noise, size=plain.field.shape[1:], mode="trilinear", align_corners=True)[0]
    result = diffeomorphic(plain, 6 * noise)
    assert result.alignment_alone
    assert not result.field.any()
    assert result.measures()["inverse_error_p99_voxels"] < 0.01


def test_only_true_and_false_are_taken() -> None:
    with pytest.raises(InputError, match="diffeomorphic is 'yes'; it must be True or False"):
        Registrar(device="cpu", diffeomorphic="yes")  # type: ignore[arg-type]


def test_the_command_writes_the_inverse(study: Path, model: Path, tmp_path: Path) -> None:
    names = {role: study / "images" / f"{role}_0.nii.gz" for role in ("fixed", "moving")}
    options = ["--model", str(model), "--initial", "none", "--device", "cpu", "--diffeomorphic"]
    files = [f"--{role}={path}" for role, path in names.items()]
    assert main(["register", *files, "--output", str(tmp_path / "out"), *options]) == 0
    assert json.loads((tmp_path / "out" / "case.json").read_text())["options"]["diffeomorphic"] is True
    assert (tmp_path / "out" / "inverse.nii.gz").is_file()
