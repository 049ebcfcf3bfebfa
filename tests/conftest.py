from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

# Without a GPU, the tests of the fused kernels use Triton's interpreter; all others use the plain operations.
if not torch.cuda.is_available():
    os.environ |= {"TRITON_INTERPRET": "1", "SACB_FUSED": "0"}

from sacb_bundle.data import phantom_pair
from sacb_bundle.files import shipped_weights


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write a NIfTI file of 2 mm voxels, or with a given affine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a data set of six small phantoms with labels. Do not write into it."""
    root = tmp_path_factory.mktemp("study")
    for number in range(3):
        for role, (image, labels) in phantom_pair((32, 32, 32), seed=number, amplitude=0.7).items():
            write(root / "images" / f"{role}_{number}.nii.gz", image)
            write(root / "labels" / f"{role}_{number}.nii.gz", labels)
    return root


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the weights that ship, whose fields bring phantoms closer; fields of an untrained network are left out."""
    folder = tmp_path_factory.mktemp("model")
    for path in (shipped_weights(), shipped_weights().with_suffix(".json")):
        shutil.copy(path, folder)
    return folder / "model.pt"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data sets named by SACB_DATA."""
    root = os.environ.get("SACB_DATA")
    if not root:
        pytest.skip("SACB_DATA is not set to a folder of real data sets")
    if not (Path(root) / "hippocampus_msd").is_dir():
        pytest.skip(f"SACB_DATA is {root}, which holds no hippocampus_msd")
    return Path(root)
