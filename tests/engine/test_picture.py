from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from sacb_bundle.data import phantom_pair
from sacb_bundle.engine.picture import save_picture


def test_picture_shows_a_difference_only_where_there_is_one(tmp_path: Path) -> None:
    pair = phantom_pair((32, 32, 32))
    moving, fixed = (pair[role][0].astype(np.float32) for role in ("moving", "fixed"))
    field = np.zeros((32, 32, 32, 3), np.float32)
    for name, warped in (("perfect", fixed), ("nothing", moving)):
        save_picture(tmp_path / f"{name}.png", moving, fixed, warped, field)
    pictures = [imread(tmp_path / f"{name}.png")[..., :3] for name in ("perfect", "nothing")]
    assert pictures[0].shape == pictures[1].shape
    coloured = [np.ptp(picture, axis=-1) > 0.1 for picture in pictures]
    # Each picture shows "fixed − moving"; only the second also shows "fixed − warped" in colours.
    assert coloured[1].sum() > 1.5 * coloured[0].sum() > 0
