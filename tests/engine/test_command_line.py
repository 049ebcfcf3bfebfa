from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.workflows import ROOT


def bundle(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m monai.bundle run ...` as a user does."""
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False)


def assert_one_error(run: subprocess.CompletedProcess[str], *words: str) -> None:
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, run.stderr
    for word in words:
        assert word in errors[0]


def test_misspelt_key() -> None:
    run = bundle("training", "--config_file", "configs/train.json", "--max_epoch", "3")
    assert_one_error(run, "--max_epoch: configs/train.json has no such key", "Did you mean --max_epochs?")


def test_misspelt_nested_key() -> None:
    run = bundle("inference", "--config_file", "configs/inference.json", "--evaluatr#amp", "True")
    assert_one_error(run, "--evaluatr#amp", "Did you mean --evaluator?")


def test_missing_folder() -> None:
    run = bundle("training", "--config_file", "configs/train.json", "--dataset_dir", "/nowhere")
    assert_one_error(run, "dataset_dir: there is no folder /nowhere")


def test_damaged_image(study: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for source in (study / "images").iterdir():
        (tmp_path / "images" / source.name).write_bytes(source.read_bytes())
    damaged = tmp_path / "images" / "moving_2.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    run = bundle("training", "--config_file", "configs/train.json", "--dataset_dir", str(tmp_path))
    assert_one_error(run, str(damaged), "damaged or cut short")


def test_pickle_as_checkpoint(study: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Path("anything")))
    run = bundle(
        "evaluating", "--config_file", "configs/evaluate.json", "--dataset_dir", str(study),
        "--checkpoint", str(tmp_path / "model.pt"),
    )  # fmt: skip
    assert_one_error(run, str(tmp_path / "model.pt"), "not a checkpoint of weights")


@pytest.mark.parametrize("config", ["train", "evaluate", "inference"])
def test_every_key_of_a_config_may_be_overridden(config: str) -> None:
    from monai.bundle import ConfigParser

    from sacb_bundle.engine.command_line import is_in_config

    content = ConfigParser.load_config_file(ROOT / "configs" / f"{config}.json")
    assert all(is_in_config(content, key) for key in content)
    assert is_in_config(content, "network_def#num_clusters")
    assert is_in_config(content, "network_def#max_iterations")
    assert is_in_config(content, "intensity#upper")
    assert not is_in_config(content, "network_deff#num_clusters")
