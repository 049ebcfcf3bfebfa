"""No text of data, a client or an option becomes code in a config."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sacb_bundle.commands import main
from sacb_bundle.config_text import check_plain_text
from sacb_bundle.data import atlas_names, read_atlas
from sacb_bundle.engine.workflow import run_workflow
from sacb_bundle.errors import InputError
from sacb_bundle.transforms import AtlasPaird
from scripts.package_bundle import checked_atlas
from tests.engine.workflows import ROOT

ATLAS = ROOT / "atlas" / "phantom"
DEFINITION = {"_target_": "os.mkdir", "path": "ran"}
CODE = ["$__import__('os').mkdir('ran')", "@weights", "%/etc/passwd#x", " $1", "\t@a"]


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize("wrap", [lambda code: code, lambda code: [1, [code]], lambda code: {"a": {code: 1}}])
def test_code_is_found_at_any_depth(wrap, code: str) -> None:
    check_plain_text({"a": ["b$", 1, None, Path(code)], 2: "x@y"}, "the data")
    with pytest.raises(InputError, match=r"the data: .* may not begin with"):
        check_plain_text(wrap(code), "the data")


@pytest.mark.parametrize("wrap", [lambda item: item, lambda item: [1, [item]], lambda item: {"a": [item]}])
@pytest.mark.parametrize("key", ["_target_", "_disabled_", "_requires_", "_mode_"])
def test_definitions_of_objects_are_found_at_any_depth(wrap, key: str) -> None:
    check_plain_text({"_private": 1, "target_": "_x_"}, "the data")
    with pytest.raises(InputError, match=f"the data: the key '{key}' may not begin and end with an underscore"):
        check_plain_text(wrap({key: "os.mkdir", "path": "ran"}), "the data")


@pytest.mark.parametrize("code", CODE[:4])
def test_label_names(code: str, tmp_path: Path) -> None:
    shutil.copytree(ATLAS, tmp_path / "own")
    names = json.loads((ATLAS / "labels.json").read_text())
    (tmp_path / "own" / "labels.json").write_text(json.dumps(names | {"3": code}))
    for read in (read_atlas, checked_atlas):
        with pytest.raises(InputError, match=r"labels\.json: .* may not begin with"):
            read(tmp_path / "own")


@pytest.mark.parametrize("name", ["$x", "@x", "%x"])
def test_names_of_atlases(name: str, tmp_path: Path) -> None:
    shutil.copytree(ATLAS, tmp_path / name)
    for read, folder in ((read_atlas, tmp_path / name), (atlas_names, tmp_path)):
        with pytest.raises(InputError, match="may not begin with"):
            read(folder)


@pytest.mark.parametrize(
    "request_", [{"atlas": CODE[0]}, {"device": CODE[0]}, {"x": [{"y": CODE[1]}]}, {CODE[2]: 1}, DEFINITION]
)
def test_requests_of_a_client(request_: dict) -> None:
    pair = AtlasPaird(ATLAS.parent, ROOT / "configs" / "metadata.json")
    with pytest.raises(InputError, match=r"the request: .* may not begin "):
        pair({"image": "/scan.nii.gz", **request_})


@pytest.mark.parametrize("code", CODE)
def test_options_of_verbs(code: str, study: Path) -> None:
    for verb, option in (
        ("train", "--modality"),
        ("train", "--device"),
        ("batch", "--modality"),
        ("batch", "--device"),
    ):
        source = "--dataset" if verb == "train" else "--images"
        with pytest.raises(SystemExit) as end:
            main([verb, source, str(study), "--output", "out", f"{option}={code}"])
        assert end.value.code == 2


@pytest.mark.parametrize(
    "option", [{"device": CODE[0]}, {"pairs": [{"id": CODE[0]}]}, {"labels": [CODE[1]]}, {"network_def": DEFINITION}]
)
def test_overrides_of_a_config(option: dict) -> None:
    with pytest.raises(InputError, match="may not begin "):
        run_workflow("inference", "infer", **option)


def test_paths_of_a_data_list_and_ids_are_no_code(study: Path, tmp_path: Path) -> None:
    name = f"{CODE[0]}.nii.gz".replace("/", "")
    shutil.copy(study / "images" / "fixed_0.nii.gz", name)
    Path("pairs.csv").write_text(f"fixed,moving,id\n{name},{name},{CODE[0]}\n")
    options = ["--pairs", "pairs.csv", "--output", "out", "--initial", "none", "--jobs", "0"]
    assert main(["batch", *options, "--device", "cpu"]) == 0
    assert (tmp_path / "out" / CODE[0] / "warped.nii.gz").is_file()
