"""A registered pair, for the tests of the verbs."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle.commands import main
from sacb_bundle.data import phantom_pair

AFFINE = np.diag([2.0, 2, 2, 1])


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a pair of phantoms, the moving one in another orientation and position. Do not write into the folder."""
    folder = tmp_path_factory.mktemp("scans of a study")
    for role, (image, labels) in phantom_pair((48, 64, 48), seed=0).items():
        affine = AFFINE.copy()
        if role == "moving":
            affine[:3, 3] = (40, -30, 20)
        for name, values in ((role, image), (f"{role}_labels", labels)):
            stored = nib.Nifti1Image(values, affine)
            if role == "moving":
                stored = stored.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
            nib.save(stored, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="session")
def registered(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "a to b"
    files = [f"--{role}={scans / role}.nii.gz" for role in ("fixed", "moving")]
    formats = ["--formats", "learn2reg", "h5"]
    labels = f"--moving-labels={scans / 'moving_labels'}.nii.gz"
    assert (
        main(["register", *files, labels, "--output", str(output), "--device", "cpu", "--initial", "center", *formats])
        == 0
    )
    return output


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)
