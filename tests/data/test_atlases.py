from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sacb_bundle.data import atlas_names, read_atlas
from sacb_bundle.errors import InputError
from sacb_bundle.transforms import AtlasPaird
from tests.engine.workflows import ROOT

SHIPPED = ROOT / "atlas" / "phantom"
METADATA = ROOT / "configs" / "metadata.json"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must hold an object of label values and names"),
        ('{"0": "air"}', "must hold an object of label values and names"),
        ('{"1": 1}', "must hold an object of label values and names"),
        ('{"1": "Left", "2": "left "}', r"\['left'\] cannot be label names"),
        ('{"1": "Background"}', r"\['background'\] cannot be label names"),
        ('{"1": "  "}', r"\[''\] cannot be label names"),
        ("{", "not valid JSON"),
    ],
)
def test_unfit_names_are_refused(content: str, message: str, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "atlas")
    (tmp_path / "atlas" / "labels.json").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_atlas(tmp_path / "atlas")
    assert "labels.json" in str(error.value)


def test_a_folder_without_atlases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no atlas, a folder with image\.nii\.gz"):
        atlas_names(tmp_path)
    with pytest.raises(InputError, match=r"image\.nii\.gz: no such file"):
        read_atlas(tmp_path)


def test_a_scan_is_paired_with_the_atlas_of_a_name(tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(SHIPPED, tmp_path / name)
    pair = AtlasPaird(tmp_path, METADATA)
    for atlas, expected in ((None, "one"), ("", "one"), (["two", "one"], "two"), ("one", "one"), ("two", "two")):
        made = pair({"image": "scan.nii.gz", "atlas": atlas})
        assert made["moving_labels"] == str(tmp_path / expected / "labels.nii.gz")
        assert made["fixed"] == "scan.nii.gz"
    assert pair({"image": "scan.nii.gz"})["moving"] == str(tmp_path / "one" / "image.nii.gz")


@pytest.mark.parametrize("atlas", ["three", "../one", 0, False, ["three", "one"], [], {"one": "two"}])
def test_another_atlas_is_refused(atlas: object, tmp_path: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(SHIPPED, tmp_path / name)
    with pytest.raises(InputError, match="it must be one of one, two"):
        AtlasPaird(tmp_path, METADATA)({"image": "scan.nii.gz", "atlas": atlas})


def test_an_atlas_whose_labels_a_client_would_name_otherwise_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mine")
    names = json.loads((SHIPPED / "labels.json").read_text())
    (tmp_path / "mine" / "labels.json").write_text(json.dumps(names | {"3": "pallidum"}))
    with pytest.raises(InputError, match=r"the label names differ from those in .*metadata\.json"):
        AtlasPaird(tmp_path, METADATA)({"image": "scan.nii.gz"})


def test_a_scan_that_is_not_there_is_said_to_be_so() -> None:
    with pytest.raises(InputError, match="There is no scan of this name"):
        AtlasPaird(SHIPPED.parent, METADATA)({"image": ""})
