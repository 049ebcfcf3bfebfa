from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pytest

from sacb_bundle.errors import InputError
from tests.engine.workflows import ROOT

ATLAS = ROOT / "atlas" / "phantom"


@pytest.fixture
def packer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the script for a copy of the bundle."""
    for name in ("configs", "docs", "models", "sacb_bundle", "atlas"):
        shutil.copytree(
            ROOT / name, tmp_path / "bundle" / name, ignore=shutil.ignore_patterns("__pycache__", "last.pt")
        )
    shutil.copy(ROOT / "LICENSE", tmp_path / "bundle")
    spec = importlib.util.spec_from_file_location("package_bundle", ROOT / "scripts" / "package_bundle.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path / "bundle")
    return module


def own_atlas(folder: Path, names: dict[str, str], values: np.ndarray | None = None) -> Path:
    """Copy the shipped atlas with other label names and labels."""
    shutil.copytree(ATLAS, folder)
    (folder / "labels.json").write_text(json.dumps(names))
    if values is not None:
        nib.save(nib.Nifti1Image(values, nib.load(ATLAS / "labels.nii.gz").affine), folder / "labels.nii.gz")
    return folder


def test_what_lies_about_stays_out(packer: ModuleType, tmp_path: Path) -> None:
    atlases = [packer.checked_atlas(ATLAS)]
    packer.package(tmp_path / "clean.zip", atlases)
    bundle = tmp_path / "bundle"
    strangers = ("configs/monailabel_train.json", "docs/scan.nii.gz", "models/tuned/model.pt", "models/last.pt", "x.py")
    for name in (*strangers, "sacb_bundle/__pycache__/a.pyc", "runs/last.pt"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("{}")
    packer.package(tmp_path / "again.zip", atlases)
    assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "clean.zip").read_bytes()
    with ZipFile(tmp_path / "again.zip") as archive:
        names = {name.removeprefix("sacb_net_registration/") for name in archive.namelist()}
    assert {"configs/train.json", "models/model.pt", "sacb_bundle/networks/sacb_net.py", "LICENSE"} <= names
    assert {"atlas/phantom/image.nii.gz", "sacb_bundle/study/report.html", "sacb_bundle/study/page.html"} <= names
    assert {"sacb_bundle/experiments/comparison.html", "docs/monai_label.png"} <= names


def test_labels_have_the_names_of_the_atlas(packer: ModuleType, tmp_path: Path) -> None:
    names = {str(label): f"structure {label}" for label in range(1, 8)}
    packer.package(tmp_path / "own.zip", [packer.checked_atlas(own_atlas(tmp_path / "own", names))])
    with ZipFile(tmp_path / "own.zip") as archive:
        metadata = json.loads(archive.read("sacb_net_registration/configs/metadata.json"))
        assert "sacb_net_registration/atlas/own/labels.json" in archive.namelist()
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background"} | names


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        ({"1": "one"}, None, "6 of its labels have no name in labels.json: 2, 3, 4, 5, 6, 7"),
        ({"1": "one"}, np.zeros((80, 96, 80), np.uint8), "holds no label"),
        ({"1": "one"}, np.ones((80, 96, 79), np.uint8), "grid"),
    ],
)
def test_an_unfit_atlas_is_refused(
    names: dict, values: np.ndarray | None, message: str, packer: ModuleType, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        packer.checked_atlas(own_atlas(tmp_path / "own", names, values))


def test_atlases_that_name_a_label_differently_are_refused(packer: ModuleType, tmp_path: Path) -> None:
    own = own_atlas(tmp_path / "own", {str(label): f"structure {label}" for label in range(1, 8)})
    with pytest.raises(InputError, match="label 1 is 'structure 1' here and 'outer brain' in another"):
        packer.package(tmp_path / "two.zip", [packer.checked_atlas(folder) for folder in (ATLAS, own)])
    assert not (tmp_path / "two.zip").exists()


def test_the_bundle_is_not_overwritten(packer: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a result would overwrite this input"):
        packer.package(tmp_path / "bundle" / "configs" / "metadata.json", [packer.checked_atlas(ATLAS)])
