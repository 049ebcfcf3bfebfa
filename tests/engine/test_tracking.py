"""Run `--tracking mlflow` with MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.engine.workflows import ROOT


def metrics_of(workflow: str, config: str, output_dir: Path, *options: str) -> dict[str, float]:
    """Return the metrics that a workflow, run as a user does, logs in its default output folder.

    MONAI attaches the config only where the folder is an expression, as the default is.
    """
    command = [sys.executable, "-m", "monai.bundle", "run", workflow, "--config_file", str(ROOT / "configs" / config)]
    command += ["--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command += ["--tracking", "mlflow", *options]
    subprocess.run(command, cwd=output_dir.parent, env=environment, check=True, capture_output=True)
    client = MlflowClient(f"sqlite:///{output_dir / 'mlruns.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FINISHED"
    (settings,) = client.list_artifacts(run.info.run_id)
    assert (output_dir / settings.path).is_file()
    return run.data.metrics


@pytest.mark.slow
def test_training_and_evaluation_are_logged(study: Path, tmp_path: Path) -> None:
    data = ("--dataset_dir", str(study))
    limits = ("--max_epochs", "2", "--pairs_per_epoch", "1")
    small = ("--network_def#base_channels", "2")
    trained = metrics_of("training", "train.json", tmp_path / "runs", *data, *limits, *small)
    assert trained["train_loss"] < 0
    assert 0 < trained["val_mean_dice"] <= 1
    assert trained["val_folding_percent"] >= 0
    scored = metrics_of(
        "evaluating", "evaluate.json", tmp_path / "eval", *data, "--checkpoint", str(tmp_path / "runs" / "model.pt")
    )
    assert 0 < scored["dice_after"] <= 1
