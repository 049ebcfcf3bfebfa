"""The physical result is the same however a real scan is stored."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from sacb_bundle.commands import main
from sacb_bundle.metrics import dice
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.registration.prepare import Settings, prepare
from sacb_bundle.registration.result import Registration
from sacb_bundle.spatial import (
    DisplacementField,
    Grid,
    Transform,
    read_image,
    read_label_map,
    read_transform,
    resample,
    write_volume,
)
from tests.spatial.geometries import indices, rotation, smooth

pytestmark = pytest.mark.data

COPIES = {
    "LPS": ("LPS", 2, None),
    "PIR": ("PIR", 2, None),
    "ASL": ("ASL", 2, None),
    "oblique": ("RAS", 2, rotation(12, 2) @ rotation(-7, 0)),
    "anisotropic oblique": ("LIP", (1, 1, 5), rotation(9, 1)),
}


@pytest.fixture(scope="module")
def subjects(real_data: Path) -> list[Path]:
    """Return brain scans of one data set on one grid along the world's axes."""
    folder = real_data / "oasis_malf_2mm"
    return [
        folder / "images" / f"{name}.nii.gz"
        for name in json.loads((folder / "dataset.json").read_text())["split"]["val"]
    ]


def labels_of(image: Path) -> Path:
    return image.parents[1] / "labels" / image.name


def reoriented(source: Path, target: Path, axes: str) -> Path:
    """Copy a file with its voxels in another order."""
    image = nib.load(source)
    old, new = nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    nib.save(image.as_reoriented(nib.orientations.ornt_transform(old, new)), target)
    return target


def stored_anew(source: Path, target: Path, axes: str, spacing: object, turn: np.ndarray | None) -> Path:
    """Make a copy of the same anatomy, with reordered voxels, or resampled if oblique."""
    if turn is None:
        return reoriented(source, target, axes)
    volume = read_image(source)
    spacings = np.broadcast_to(np.asarray(spacing, float), 3)
    extent = volume.grid.corners.max(axis=0) - volume.grid.corners.min(axis=0) + 30
    shape = tuple(int(size) for size in np.ceil(extent / spacings))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacings)
    affine[:3, 3] = volume.grid.corners.mean(axis=0) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    write_volume(resample(Transform(), Grid(shape, affine), [volume]).images[0], target.with_suffix(".oblique.nii.gz"))
    return reoriented(target.with_suffix(".oblique.nii.gz"), target, axes)


def known_field(grid: Grid) -> DisplacementField:
    """Return the known deformation of the world on a grid."""
    vectors = smooth(grid.to_world(indices(grid.shape))).T.reshape(3, *grid.shape)
    return DisplacementField(torch.from_numpy(vectors).float(), grid)


@pytest.mark.parametrize("copy", COPIES)
def test_a_known_deformation_of_the_world_is_written_the_same_for_every_copy(
    copy: str, subjects: list[Path], tmp_path: Path
) -> None:
    """Register with a known deformation on the working grid in place of the network's field."""
    source = read_image(subjects[0])
    brain = resample(Transform(displacement=known_field(source.grid)), source.grid, [source]).images[0]
    write_volume(brain, tmp_path / "brain.nii.gz")
    fixed = stored_anew(tmp_path / "brain.nii.gz", tmp_path / "fixed.nii.gz", *COPIES[copy])
    moving = stored_anew(subjects[0], tmp_path / "moving.nii.gz", *COPIES["PIR"])
    pair = as_pair({"fixed": fixed, "moving": moving})
    prepared = prepare(pair, Settings(trained_spacing_mm=2.0, size_divisor=16, initial="none"))
    field = known_field(prepared.grid).in_voxels_of(prepared.grid)
    Registration(pair, prepared, field).save(tmp_path / "out")

    places = brain.grid.to_world(np.argwhere(brain.values > 0)[::7])
    recovered = read_transform(tmp_path / "out" / "transform.nii.gz").map_points(places) - places
    assert np.linalg.norm(recovered - smooth(places), axis=1).max() < 0.1


def dice_after(fixed: Path, moving: Path, output: Path) -> float:
    """Return the mean Dice of a pair after `sacb register`; label maps are beside the images, as *_labels.nii.gz."""
    folder = fixed.parent
    labels = folder / moving.name.replace(".nii.gz", "_labels.nii.gz")
    arguments = ["--fixed", str(fixed), "--moving", str(moving), "--moving-labels", str(labels), "--device", "cpu"]
    assert main(["register", *arguments, "--initial", "none", "--output", str(output)]) == 0
    expected = read_label_map(folder / fixed.name.replace(".nii.gz", "_labels.nii.gz")).values
    warped = read_label_map(output / "warped_labels.nii.gz").values
    scored = [label for label in np.unique(expected) if label]
    return float(np.mean(list(dice(expected, warped, scored).values())))


@pytest.mark.slow
def test_the_network_does_as_well_on_every_copy(subjects: list[Path], tmp_path: Path) -> None:
    scores = {}
    for fixed, moving in (("RAS", "RAS"), ("LPS", "SPL"), ("PIR", "RAS"), ("ASL", "PIR")):
        for role, subject, axes in (("fixed", subjects[0], fixed), ("moving", subjects[1], moving)):
            reoriented(subject, tmp_path / f"{role}.nii.gz", axes)
            reoriented(labels_of(subject), tmp_path / f"{role}_labels.nii.gz", axes)
        scores[fixed] = dice_after(tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", tmp_path / fixed)
    assert min(scores.values()) > 0.55
    assert max(scores.values()) - min(scores.values()) < 0.01, scores
