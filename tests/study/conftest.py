from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import pytest

from tests.conftest import write


@pytest.fixture
def table(study: Path, tmp_path: Path) -> Path:
    """A table of four pairs of phantoms, with labels. Files may be changed."""
    rows = []
    for number in range(3):
        for role in ("fixed", "moving"):
            for kind in ("images", "labels"):
                image = nib.load(study / kind / f"{role}_{number}.nii.gz")
                write(tmp_path / "scans" / f"{role} {number}_{kind}.nii.gz", image.get_fdata().astype("uint8"))
    for fixed, moving in ((0, 0), (1, 1), (2, 2), (0, 1)):
        images = [f"scans/fixed {fixed}_images.nii.gz", f"scans/moving {moving}_images.nii.gz"]
        rows.append([*images, *(name.replace("images.nii", "labels.nii") for name in images), f"case {fixed}{moving}"])
    with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["fixed", "moving", "fixed_labels", "moving_labels", "id"], *rows])
    return tmp_path / "pairs.csv"
