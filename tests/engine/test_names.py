"""Names and paths on the command line stay as they are typed."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import fire
import pytest
from monai.bundle import ConfigWorkflow

from sacb_bundle.engine import check_command_line
from sacb_bundle.errors import InputError
from sacb_bundle.files import shipped_weights
from tests.engine.workflows import ROOT

# Fire turns them into 1000, 10003, 100000.0, "a", ("a", "b") and "a".
NAMES = ["1000", "1000_3", "1e5", "a#b", "a,b", "(a)"]


@pytest.fixture
def numbered(study: Path, tmp_path: Path) -> Path:
    """Make a data set whose subjects have such names."""
    for number, name in enumerate(NAMES):
        role = ("fixed", "moving")[number % 2]
        for kind in ("images", "labels"):
            (tmp_path / "2025" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(study / kind / f"{role}_{number // 2}.nii.gz", tmp_path / "2025" / kind / f"{name}.nii.gz")
    return tmp_path


def started(monkeypatch: pytest.MonkeyPatch, config: str, *options: str, overlay: str = "") -> ConfigWorkflow:
    """Initialise a workflow with the values that Fire and MONAI make of a command line."""
    files = [str(ROOT / "configs" / f"{config}.json"), *([overlay] if overlay else [])]
    arguments = ["run", "--config_file", str(files), "--device", "cpu", *options]
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", *arguments])
    values = fire.Fire(lambda **values: values, command=arguments[1:], serialize=lambda _: None)
    workflow = ConfigWorkflow(workflow_type="train", logging_file=False, **values)
    workflow.initialize()
    return workflow


@pytest.mark.parametrize("name", NAMES)
def test_an_atlas_keeps_its_name(name: str, numbered: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(numbered)
    for config, key in (("inference", "pairs"), ("evaluate", "pairs"), ("train", "train::dataset::data")):
        workflow = started(monkeypatch, config, "--dataset_dir", "2025", "--atlas", name, "--output_dir", "1_0")
        first = workflow.parser.get_parsed_content(key)[0]
        assert first.get("moving", first.get("image")) == f"2025/images/{name}.nii.gz"


@pytest.mark.parametrize("form", ["--output_dir {}", "--output_dir={}", "-output-dir {}"])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_keeps_its_name(form: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = started(monkeypatch, "train", *form.format(name).split(), "--resume", "1_0")
    values = {key: workflow.parser.get_parsed_content(key) for key in ("output_dir", "ckpt_dir", "cache_dir", "resume")}
    assert values == {"output_dir": name, "ckpt_dir": name, "cache_dir": f"{name}/alignments", "resume": "1_0"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None", None),
        ("True", True),
        ("'True'", "True"),
        ("$'a' + 'b'", "ab"),
        ("@output_dir", "runs"),
        ("true", "true"),
    ],
)
def test_what_is_no_name_stays_what_it_is(text: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow = started(monkeypatch, "train", "--atlas", text)
    assert workflow.parser.get_parsed_content("atlas") == expected


def test_weights_of_a_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for ending in ("", ".json"):
        shutil.copy(shipped_weights().with_suffix(ending or ".pt"), f"1_0{ending}")
    assert started(monkeypatch, "evaluate", "--checkpoint", "1_0").parser.get_parsed_content("checkpoint") == "1_0"


def test_names_in_an_overlay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = tmp_path / "overlay.json"
    overlay.write_text(json.dumps({"atlas": 1000, "cache_dir": "a#b"}))
    workflow = started(monkeypatch, "train", overlay=str(overlay))
    values = [workflow.parser.get_parsed_content(key) for key in ("atlas", "cache_dir", "ckpt_dir")]
    assert values == ["1000", "a#b", "runs"]


@pytest.mark.parametrize(("option", "value"), [("--cases#output_dir", "1_0"), ("--preprocessing#cache_dir", "a#b")])
def test_a_name_below_another_key_is_refused(option: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(ROOT / "configs" / "inference.json")
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", "--config_file", config, option, value])
    with pytest.raises(InputError, match="this is not read as text"):
        check_command_line()
