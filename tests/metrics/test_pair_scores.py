from dataclasses import astuple

import numpy as np
import pytest

from sacb_bundle.metrics import (
    dice,
    folding_percentage,
    non_diffeomorphic_volume,
    score_pair,
    sd_log_jacobian,
    surface_distances,
)

from .label_maps import SHAPE, moved, regions, voxels

LABELS = (1, 2, 3)
SPACING_MM = (1.5, 0.8, 2.25)
NO_FIELD = np.zeros((3, *SHAPE))


def test_gathers_the_scores_of_each_label_and_of_the_field() -> None:
    fixed = regions(0, LABELS)
    moving, warped = moved(fixed, (2, 1, 3)), moved(fixed, (1, 0, 0))
    field = 0.5 * np.random.default_rng(0).standard_normal((3, *SHAPE))

    scores = score_pair(fixed, moving, warped, field, LABELS, SPACING_MM)

    dices = [dice(fixed, other, LABELS) for other in (moving, warped)]
    before, after = (surface_distances(fixed, other, LABELS, SPACING_MM) for other in (moving, warped))
    assert [astuple(row) for row in scores.labels] == [
        (
            label,
            *(scores[label] for scores in dices),
            before[label].hd95,
            after[label].hd95,
            before[label].assd,
            after[label].assd,
        )
        for label in LABELS
    ]
    assert (scores.left_out, scores.vanished) == ((), ())
    assert scores.folding_percent == folding_percentage(field) > 0
    assert scores.ndv_percent == non_diffeomorphic_volume(field) > 0
    assert scores.sd_log_jacobian == sd_log_jacobian(field) > 0


NOTHING = voxels((0, 0, 0), label=9)
THERE = voxels((0, 0, 0))


@pytest.mark.parametrize(
    ("fixed", "moving", "warped", "scored", "left_out", "vanished"),
    [
        pytest.param(THERE, THERE, THERE, (1,), (), (), id="everywhere"),
        pytest.param(NOTHING, THERE, THERE, (), (1,), (), id="missing from fixed"),
        pytest.param(THERE, NOTHING, THERE, (), (1,), (), id="missing from moving"),
        pytest.param(NOTHING, NOTHING, NOTHING, (), (1,), (), id="nowhere"),
        pytest.param(THERE, THERE, NOTHING, (1,), (), (1,), id="lost in the warp"),
    ],
)
def test_which_labels_are_scored(
    fixed: np.ndarray,
    moving: np.ndarray,
    warped: np.ndarray,
    scored: tuple[int, ...],
    left_out: tuple[int, ...],
    vanished: tuple[int, ...],
) -> None:
    scores = score_pair(fixed, moving, warped, NO_FIELD, (1,), SPACING_MM)
    assert tuple(row.label for row in scores.labels) == scored
    assert scores.left_out == left_out
    assert scores.vanished == vanished


def test_label_lost_in_the_warp_has_dice_0_and_no_distance() -> None:
    (row,) = score_pair(THERE, THERE, NOTHING, NO_FIELD, (1,), SPACING_MM).labels
    assert (row.dice_before, row.hd95_before, row.assd_before) == (1, 0, 0)
    assert (row.dice_after, row.hd95_after, row.assd_after) == (0, None, None)


def test_field_on_another_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="not on the grid"):
        score_pair(THERE, THERE, THERE, NO_FIELD[:, 1:], (1,), SPACING_MM)
