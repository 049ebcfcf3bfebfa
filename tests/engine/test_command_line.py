from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sacb_bundle.checks import check_counts, check_numbers
from sacb_bundle.engine import check_command_line
from sacb_bundle.errors import InputError
from sacb_bundle.networks import WeightsInfo, write_info
from tests.engine.workflows import ROOT

# If an error goes undetected, the run must neither take long nor change the shipped weights.
HARMLESS = ("--max_epochs", "1", "--pairs_per_epoch", "1", "--ckpt_dir", "/nonexistent/models")


def bundle(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m monai.bundle run ...` as a user does."""
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, check=False, timeout=120)


def assert_one_error(run: subprocess.CompletedProcess[str], *words: str) -> None:
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    errors = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, run.stderr
    for word in words:
        assert word in errors[0]


def test_misspelt_key() -> None:
    run = bundle("training", "--config_file", "configs/train.json", "--max_epoch", "3", *HARMLESS)
    assert_one_error(run, "--max_epoch: configs/train.json has no key max_epoch", "Did you mean max_epochs?")


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_epochs", 0), ("batch_size", "two"), ("val_interval", -1), ("pairs_per_epoch", 1.5), ("batch_size", True)],
)
def test_counts_are_whole_numbers(option: str, value: object) -> None:
    right: dict = {"max_epochs": 1, "val_interval": 1, "batch_size": 1, "pairs_per_epoch": None}
    check_counts(**right)
    with pytest.raises(InputError, match=f"{option} is {value!r}; it must be a whole number of at least 1"):
        check_counts(**right | {option: value})


@pytest.mark.parametrize("seed", [1.5, -1, "one"])
def test_a_seed_is_a_whole_number(seed: object) -> None:
    check_counts(seed=0, least=0)
    with pytest.raises(InputError, match=f"seed is {seed!r}; it must be a whole number of at least 0"):
        check_counts(seed=seed, least=0)


@pytest.mark.parametrize("number", ["x", -0.1, float("inf"), float("nan"), None, True])
def test_numbers_are_finite_and_not_negative(number: object) -> None:
    check_numbers(learning_rate=0.1, smoothness_weight=0)
    with pytest.raises(InputError, match=f"learning_rate is {number!r}; it must be a finite, non-negative number"):
        check_numbers(learning_rate=number, smoothness_weight=0)


@pytest.mark.slow
@pytest.mark.parametrize(("option", "value"), [("seed", "1.5"), ("smoothness_weight", "x")])
def test_options_of_another_type(option: str, value: str) -> None:
    run = bundle("training", "--config_file", "configs/train.json", *HARMLESS, f"--{option}", value)
    assert_one_error(run, f"{option} is ")


def test_a_batch_of_nothing() -> None:
    run = bundle("training", "--config_file", "configs/train.json", *HARMLESS, "--batch_size", "0")
    assert_one_error(run, "batch_size is 0; it must be a whole number of at least 1")


@pytest.mark.slow
def test_missing_folder() -> None:
    run = bundle("training", "--config_file", "configs/train.json", "--dataset_dir", "/nowhere", *HARMLESS)
    assert_one_error(run, "dataset_dir: there is no folder /nowhere")


@pytest.mark.slow
def test_damaged_image(study: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for source in (study / "images").iterdir():
        (tmp_path / "images" / source.name).write_bytes(source.read_bytes())
    damaged = tmp_path / "images" / "moving_2.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    run = bundle("training", "--config_file", "configs/train.json", "--dataset_dir", str(tmp_path), *HARMLESS)
    assert_one_error(run, str(damaged), "damaged or cut short")


@pytest.mark.slow
def test_a_study_with_a_damaged_scan(study: Path, tmp_path: Path) -> None:
    scans, output = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for name in ("moving_1", "moving_2"):
        shutil.copy(study / "images" / f"{name}.nii.gz", scans)
    (scans / "damaged.nii.gz").write_bytes((scans / "moving_2.nii.gz").read_bytes()[:2000])
    options = ["--config_file", "configs/inference.json", "--dataset_dir", str(scans), "--output_dir", str(output)]
    options += ["--initial", "none", "--device", "cpu", "--jobs", "0"]
    plan = bundle("plan", *options)
    assert plan.returncode == 0, plan.stderr
    assert "pairs     6; 0 cannot be registered" in plan.stdout
    assert not output.exists()
    assert_one_error(bundle("inference", *options), "4 of 6 cases failed", "damaged or cut short")
    assert json.loads((output / "summary.json").read_text())["done"] == 2
    resumed = bundle("inference", *options, "--resume", "True")
    assert "2 of 6 cases are complete" in resumed.stdout


@pytest.mark.slow
def test_pickle_as_checkpoint(study: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(pickle.dumps(Path("anything")))
    write_info(WeightsInfo(), tmp_path / "model.pt")
    run = bundle(
        "evaluating", "--config_file", "configs/evaluate.json", "--dataset_dir", str(study),
        "--checkpoint", str(tmp_path / "model.pt"),
    )  # fmt: skip
    assert_one_error(run, str(tmp_path / "model.pt"), "not a checkpoint of weights")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--network_def#num_cluster", "Did you mean num_clusters?"),
        ("--loss#similarity#windw", "Did you mean window?"),
        ("--train#trainer#max_epoch", "Did you mean max_epochs?"),
        ("--train::datset", "Did you mean dataset?"),
        ("--train#handlers#10", "has no key 10."),
        ("--config_files", "Did you mean config_file?"),
        ("-max-epoch", "Did you mean max_epochs?"),
    ],
)
def test_misspelt_option_is_named(option: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(ROOT / "configs" / "train.json")
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", "--config_file", config, option, "1"])
    with pytest.raises(InputError, match=re.escape(hint)) as error:
        check_command_line()
    assert option.strip("-").replace("-", "_") in str(error.value)


def test_right_options_pass(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = str([str(ROOT / "configs" / name) for name in ("train.json", "datasets/oasis.json")])
    options = [
        "--ckpt_dir",
        "no",
        "--config_file",
        files,
        "--network_def#max_iterations",
        "9",
        "--loss#regulariser_weight=2",
        "--resume",
    ]
    options += ["--validate#handlers#0#iteration_log", "False", "--loss#similarity#window", "7", "--run_id", "training"]
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", *options])
    check_command_line()
    arguments = tmp_path / "arguments.json"
    arguments.write_text(json.dumps({"config_file": str(ROOT / "configs" / "train.json"), "max_epochs": 3}))
    monkeypatch.setattr(
        sys, "argv", ["monai/bundle/__main__.py", "run", "--args_file", str(arguments), "--max-epochs", "2"]
    )
    check_command_line()
    arguments.write_text(json.dumps({"config_file": str(ROOT / "configs" / "train.json"), "max_epoch": 3}))
    with pytest.raises(InputError, match="--max_epoch"):
        check_command_line()
    monkeypatch.setattr(sys, "argv", ["my_program.py", "--anything"])
    check_command_line()


def test_options_of_tracking_pass_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = ["--config_file", str(ROOT / "configs" / "train.json"), "--tracking_uri", "sqlite:///runs.db"]
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", *options, "--tracking", "mlflow"])
    check_command_line()
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", *options])
    with pytest.raises(InputError, match="has no key tracking_uri"):
        check_command_line()


@pytest.mark.parametrize(("value", "right"), [("true", "True"), ("FALSE", "False")])
def test_a_truth_value_that_would_be_read_as_text(value: str, right: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = str(ROOT / "configs" / "evaluate.json")
    options = ["--config_file", config, "--evaluator#amp", value]
    monkeypatch.setattr(sys, "argv", ["monai/bundle/__main__.py", "run", *options])
    with pytest.raises(InputError, match=f"write {right}"):
        check_command_line()
