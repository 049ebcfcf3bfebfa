from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sacb_bundle.intensities import appearance_of
from sacb_bundle.metrics import dice
from sacb_bundle.ops import warp
from sacb_bundle.quality import evidence_of, flags_of, in_view, lost_headers, verdict_of
from sacb_bundle.registration.outputs import write_picture
from sacb_bundle.registration.pair import Pair
from sacb_bundle.registration.prepare import Prepared
from sacb_bundle.registration.result import Registration
from sacb_bundle.spatial import Grid, Volume, body_of, motion

SHAPE = (32, 40, 24)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))


def case(field: torch.Tensor, labels: bool = True) -> Registration:
    """Register a box with its image under a field in voxels; the labels are 1 in the box."""
    moving = torch.zeros(1, 1, *SHAPE)
    texture = np.random.default_rng(0).random((12, 18, 12)) / 2 + 0.5
    moving[0, 0, 9:21, 10:28, 6:18] = torch.from_numpy(texture)
    images = {"fixed": warp(moving, field[None])[0, 0].numpy(), "moving": moving[0, 0].numpy()}
    volumes = {role: Volume(image, GRID) for role, image in images.items()}
    if labels:
        volumes |= {f"{role}_labels": Volume((image > 0.1).astype(np.int32), GRID) for role, image in images.items()}
    pair = Pair(**volumes)
    appearances = {"fixed": "mr", "moving": "ct"}
    appearances = {role: appearance_of(images[role], kind, "mr", role) for role, kind in appearances.items()}
    sources = {"fixed": pair.fixed, "moving": pair.moving}
    prepared = Prepared(np.stack([images["moving"], images["fixed"]]), GRID, np.eye(4), appearances, sources)
    return Registration(pair, prepared, field)


def shift(voxels: float) -> torch.Tensor:
    field = torch.zeros(3, *SHAPE)
    field[0] = voxels
    return field


def test_measures_of_a_perfect_registration() -> None:
    result = case(shift(1.0))
    measures = result.measures()
    assert measures["similarity_after"] > measures["similarity_before"] + 0.1
    torch.testing.assert_close(result.warped_on_working_grid[0, :-1], torch.from_numpy(result.prepared.images[1, :-1]))
    assert measures["folding_percent"] == 0
    for name in ("mean", "max", "border"):
        assert measures[f"displacement_{name}_mm"] == pytest.approx(2.0)
    assert measures["inverse_failed_percent"] == 0
    assert (measures["alignment_scale"], measures["moving_modality"]) == (1.0, "ct")
    assert (measures["fixed_background"], measures["fixed_range"][0]) == (0.0, 0.0)
    assert measures["fixed_range"][1] == pytest.approx(4.0, abs=0.1)  # four times the brightest of the texture
    assert (measures["moving_background"], measures["moving_range"]) == (0.0, [-1000.0, None])
    assert measures["moving_spacing"] == [2.0, 2.0, 2.0]
    assert measures["spacing"] == 2.0
    fixed, moving = (result.prepared.images[place] > 0.1 for place in (1, 0))
    assert measures["dice_before"] == pytest.approx(dice(fixed.astype(int), moving.astype(int), [1])[1])
    assert (measures["dice_after"], measures["hd95_after"], measures["assd_after"]) == (1.0, 0.0, 0.0)
    assert measures["hd95_before"] > 0
    assert (measures["left_out"], measures["vanished"]) == ([], [])
    assert not measures["alignment_alone"]
    volumes = result.prepared.volumes
    evidence = evidence_of(volumes["fixed"], volumes["moving"], np.eye(4), result.prepared.sources)
    assert measures.items() >= evidence.items()
    assert measures["verdict"] == verdict_of(measures)


def test_measures_of_a_field_that_folds() -> None:
    field = shift(0.0)
    field[0, 10:14] = torch.tensor([3.0, 0.0, -3.0, 0.0]).reshape(4, 1, 1)
    measures = case(field, labels=False).measures()
    assert measures["folding_percent"] == pytest.approx(100 / 32)  # by central differences, one plane of 32
    assert measures["inverse_failed_percent"] > 1
    assert measures["displacement_border_mm"] > 5
    assert "dice_after" not in measures


def test_a_field_that_brings_the_images_no_closer_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = case(shift(1.0), labels=False)
    # MONAI's logging turns off the loggers that exist when a workflow begins, and some verbs show only errors.
    logger = logging.getLogger("sacb_bundle.registration.result")
    monkeypatch.setattr(logger, "disabled", False)
    with caplog.at_level(logging.WARNING, logger=logger.name):
        result = Registration(good.pair, good.prepared, shift(-1.0))
    assert "so the result is the alignment alone" in caplog.text
    assert result.alignment_alone
    assert not result.field.any()
    torch.testing.assert_close(result.warped_on_working_grid[0], torch.from_numpy(result.prepared.images[0]))
    places = GRID.lattice(4)
    np.testing.assert_allclose(result.transform.map_points(places), result.alignment.map_points(places), atol=1e-5)
    measures = result.measures()
    assert measures["alignment_alone"]
    assert measures["similarity_after"] == pytest.approx(measures["similarity_before"], abs=1e-5)
    assert measures["displacement_max_mm"] == 0
    assert "the alignment alone: the displacement field brought the images no closer" in flags_of(measures)


def test_only_labels_that_are_named_count() -> None:
    measures = case(shift(1.0)).measures(labels=[1, 7])
    assert measures["left_out"] == [7]
    assert [row["label"] for row in measures["labels"]] == [1]


@pytest.mark.parametrize("labels", [True, False])
def test_picture(labels: bool, tmp_path: Path) -> None:
    write_picture(case(shift(1.0), labels), tmp_path / "picture.jpg")
    picture = np.asarray(Image.open(tmp_path / "picture.jpg")).astype(int)
    columns = 7 + labels
    assert picture.shape[1] % columns == 0
    width = picture.shape[1] // columns
    tiles = [picture[20:, column * width : (column + 1) * width] for column in range(columns)]
    colour = [np.abs(tile - tile.mean(axis=2, keepdims=True)) for tile in tiles]
    # Images are grey; the difference shows the shift before registration, and hardly after; the displacement is red.
    assert max(values.max() for values in colour[:3]) < 20
    assert colour[3].mean() > 5 * colour[4].mean()
    assert tiles[6][..., 0].mean() > 3 * tiles[6][..., 1].mean()
    if labels:
        white = (tiles[7] > 200).all(axis=2)
        green = (tiles[7][..., 1] > 150) & (tiles[7][..., 0] < 120)
        pink = (tiles[7][..., 0] > 180) & (tiles[7][..., 1] < 140)
        assert white.sum() > 200 > green.sum() + pink.sum()


def test_measures_tell_how_far_the_alignment_moves() -> None:
    result = case(shift(0.0), labels=False)
    turned = np.array([[0, -1.5, 0, 90], [1.5, 0, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
    result = Registration(result.pair, replace(result.prepared, initial=turned), result.field)
    measures = result.measures()
    for name, value in motion(turned, GRID).items():
        assert measures[f"alignment_{name}"] == pytest.approx(value)
    assert measures["alignment_scale"] == pytest.approx(1.5)


def test_how_far_an_alignment_moves() -> None:
    turned = np.array([[0, -1.5, 0, 5], [1.5, 0, 0, 0], [0, 0, 1.5, 0], [0, 0, 0, 1]])
    moved = motion(turned, GRID)
    assert moved["scale"] == pytest.approx(1.5)
    assert moved["turn_degrees"] == pytest.approx(90)
    centre = GRID.corners.mean(axis=0)
    assert moved["shift_mm"] == pytest.approx(np.linalg.norm(turned[:3, :3] @ centre + turned[:3, 3] - centre))


def test_how_much_of_the_images_is_in_view() -> None:
    whole = Volume(np.pad(np.ones((20, 20, 20), np.float32), 2), Grid((24, 24, 24), np.eye(4)))
    half = Volume(
        whole.values[12:], Grid((12, 24, 24), np.array([[1, 0, 0, 12], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    )
    assert in_view(whole, half, np.eye(4)) == {
        "fixed_in_view_percent": pytest.approx(50, abs=1),
        "fixed_beyond_percent": pytest.approx(100 * 9.5 / body_of(half).size),
        "moving_in_view_percent": 100.0,
        "moving_beyond_percent": 0.0,
    }
    away = np.eye(4)
    away[0, 3] = 15.0
    seen = in_view(whole, half, away)
    assert seen["moving_in_view_percent"] == pytest.approx(70)
    assert seen["moving_beyond_percent"] == pytest.approx(100 * 2.5 / body_of(whole).size)


@pytest.mark.parametrize(
    ("diagonal", "first", "modality", "stretch", "lost"),
    [
        ((1, 1, 1), (0, 0, 0), "ct", 1.0, True),
        ((1, 1, 1), (0, 0, 0), "mr", 1.0, False),  # a brain that was resampled to 1 mm
        ((1, 1, 1), (0, 0, 0), "mr", 1.7, True),
        ((-1, -1, 1), (0, 0, 0), "ct", 1.0, True),  # as ITK assumes
        ((-1, 1, 1), (15.5, -19.5, -11.5), "ct", 1.0, True),  # as nibabel assumes
        ((1, 1, 1), (-12, 0, 0), "ct", 1.0, False),
        ((2, 2, 2), (0, 0, 0), "ct", 1.7, False),
    ],
)
def test_lost_headers(diagonal: tuple, first: tuple, modality: str, stretch: float, lost: bool) -> None:
    affine = np.diag([*diagonal, 1.0])
    affine[:3, 3] = first
    grids = {"fixed": Grid(SHAPE, affine), "moving": Grid(SHAPE, np.diag([3.0, 3, 3, 1]))}
    found = lost_headers(grids, {"fixed": modality, "moving": "ct"}, np.diag([1.0, stretch, 1, 1]))
    assert found == {"fixed_header_lost": lost, "moving_header_lost": False}
