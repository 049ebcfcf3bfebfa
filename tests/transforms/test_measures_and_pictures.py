from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sacb_bundle.metrics import dice
from sacb_bundle.spatial import DisplacementField, Grid, Transform, Volume
from sacb_bundle.transforms import DrawRegistrationd, MeasureRegistrationd
from tests.conftest import write

SHAPE = (32, 40, 24)
GRID = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))


def case(field: torch.Tensor, folder: Path, labels: bool = True) -> dict[str, Any]:
    """A box, which lies one voxel further right in the moving image, after a registration with a field in voxels."""
    images = {}
    for role, start in (("fixed", 8), ("moving", 9)):
        images[role] = np.zeros(SHAPE, np.float32)
        images[role][start : start + 12, 10:28, 6:18] = np.random.default_rng(0).random((12, 18, 12)) / 2 + 0.5
    displacement = DisplacementField.from_voxels(field, GRID)
    data: dict[str, Any] = {
        "id": "box",
        "folder": folder,
        "image": torch.from_numpy(np.stack([images["moving"], images["fixed"]])),
        "pred": field,
        "transform": Transform(displacement=displacement),
        "alignment": {"shift_mm": 1.0, "turn_degrees": 2.0, "scale": 1.5},
        "modality": {"fixed": "mr", "moving": "ct"},
    }
    for role, image in images.items():
        data[role] = str(write(folder / f"{role}.nii.gz", image))
    if labels:
        for role, image in images.items():
            data[f"{role}_labels"] = str(write(folder / f"{role}_labels.nii.gz", (image > 0).astype(np.uint8)))
        data["moving_labels"] = Volume((images["moving"] > 0).astype(np.int32), GRID)
        data["warped_labels"] = Volume((images["fixed"] > 0).astype(np.int32), GRID)
    return data


def shift(voxels: float) -> torch.Tensor:
    field = torch.zeros(3, *SHAPE)
    field[0] = voxels
    return field


def test_measures_of_a_perfect_registration(tmp_path: Path) -> None:
    data = case(shift(1.0), tmp_path)
    result = MeasureRegistrationd()(data)
    measures = result["measures"]
    assert measures["similarity_after"] > measures["similarity_before"] + 0.1
    torch.testing.assert_close(result["warped"][0, :-1], data["image"][1, :-1])
    assert measures["folding_percent"] == 0
    for name in ("mean", "max", "border"):
        assert measures[f"displacement_{name}_mm"] == pytest.approx(2.0)
    assert measures["inverse_failed_percent"] == 0
    assert (measures["alignment_scale"], measures["moving_modality"]) == (1.5, "ct")
    assert len(measures["fixed_deciles"]) == 9
    assert measures["fixed_deciles"] == pytest.approx(np.linspace(0.55, 0.95, 9), abs=0.02)
    assert measures["moving_spacing"] == [2.0, 2.0, 2.0]
    assert measures["spacing"] == 2.0
    fixed, moving = (data["image"][place].numpy() > 0 for place in (1, 0))
    assert measures["dice_before"] == pytest.approx(dice(fixed.astype(int), moving.astype(int), [1])[1])
    assert (measures["dice_after"], measures["hd95_after"], measures["assd_after"]) == (1.0, 0.0, 0.0)
    assert measures["hd95_before"] > 0
    assert (measures["left_out"], measures["vanished"]) == ([], [])


def test_measures_of_a_field_that_folds(tmp_path: Path) -> None:
    field = shift(0.0)
    field[0, 10:14] = torch.tensor([3.0, 0.0, -3.0, 0.0]).reshape(4, 1, 1)
    measures = MeasureRegistrationd()(case(field, tmp_path, labels=False))["measures"]
    assert measures["folding_percent"] == pytest.approx(100 / 32)  # by central differences, one plane of 32
    assert measures["inverse_failed_percent"] > 1
    assert measures["displacement_border_mm"] > 5
    assert "dice_after" not in measures


def test_only_labels_that_are_named_count(tmp_path: Path) -> None:
    measures = MeasureRegistrationd([1, 7])(case(shift(1.0), tmp_path))["measures"]
    assert measures["left_out"] == [7]
    assert [row["label"] for row in measures["labels"]] == [1]


@pytest.mark.parametrize("labels", [True, False])
def test_picture(labels: bool, tmp_path: Path) -> None:
    data = MeasureRegistrationd()(case(shift(1.0), tmp_path, labels))
    DrawRegistrationd()(data)
    picture = np.asarray(Image.open(tmp_path / "picture.jpg")).astype(int)
    columns = 7 + labels
    assert picture.shape[1] % columns == 0
    width = picture.shape[1] // columns
    tiles = [picture[20:, column * width : (column + 1) * width] for column in range(columns)]
    colour = [np.abs(tile - tile.mean(axis=2, keepdims=True)) for tile in tiles]
    # Images are grey; the difference before shows the shift, the one after hardly; the displacement is all red.
    assert max(values.max() for values in colour[:3]) < 20
    assert colour[3].mean() > 5 * colour[4].mean()
    assert tiles[6][..., 0].mean() > 3 * tiles[6][..., 1].mean()
    if labels:
        white = (tiles[7] > 200).all(axis=2)
        green = (tiles[7][..., 1] > 150) & (tiles[7][..., 0] < 120)
        pink = (tiles[7][..., 0] > 180) & (tiles[7][..., 1] < 140)
        assert white.sum() > 200 > green.sum() + pink.sum()
