"""Train in several processes on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sacb_bundle.engine import join_processes
from sacb_bundle.errors import InputError
from sacb_bundle.networks import load_network
from tests.engine.workflows import ROOT

TRAIN = """
import logging
import sys
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

logging.basicConfig(level=logging.INFO)
configs, dataset_dir, folder = sys.argv[1].split(","), sys.argv[2], sys.argv[3]
made = ConfigWorkflow(
    configs, workflow_type="train", logging_file=False, dataset_dir=dataset_dir, ckpt_dir=folder, output_dir=folder,
    batch_size=int(sys.argv[4]), learning_rate=float(sys.argv[5]), pairs_per_epoch=2, max_epochs=1,
    **{"network_def#base_channels": 2})
made.initialize()
network = made.parser.get_parsed_content("network_def")
rank = made.parser.get_parsed_content("rank")

if sys.argv[6] == "fp64":
    # Operations convert to fp32 by this method.
    torch.Tensor.float = torch.Tensor.double
    network.double().register_forward_pre_hook(lambda module, inputs: inputs[0].double())

def keep(engine):
    gradients = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    if rank == 0:
        torch.save(gradients, f"{folder}/gradients.pt")

made.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), keep)
made.run()
if rank == 0:
    torch.save(made.evaluator.state.metrics, f"{folder}/metrics.pt")
made.finalize()
"""


def train(
    study: Path,
    folder: Path,
    processes: int,
    batch_size: int,
    learning_rate: float = 0.0001,
    precision: str = "fp32",
) -> str:
    """Train one epoch of two pairs, and save the gradients of its first step and the metrics of its validation.

    Args:
        precision: "fp32" or "fp64".

    Returns:
        The output of the processes.
    """
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    names = ["train.json"] if processes == 1 else ["train.json", "multi_gpu_train.json"]
    configs = ",".join(str(ROOT / "configs" / name) for name in names)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = [sys.executable, *(launcher if processes > 1 else [])]
    options = [configs, study, folder, str(batch_size), str(learning_rate), precision]
    # The order of summation depends on the number of threads.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [*start, folder / "train.py", *options]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return run.stdout + run.stderr


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(study: Path, tmp_path: Path) -> None:
    # A batch of two rounds differently from two batches of one, so some voxels change cluster in fp32.
    said = train(study, tmp_path / "one", processes=1, batch_size=2, precision="fp64")
    said_by_two = train(study, tmp_path / "two", processes=2, batch_size=1, precision="fp64")
    # The second process logs no progress.
    assert said.count("Engine run resuming") == said_by_two.count("Engine run resuming") == 2
    one, two = (torch.load(tmp_path / name / "gradients.pt", weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert {gradient.dtype for gradient in one.values()} == {torch.float64}
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    assert largest > 0
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-5 * largest)
    # Only one process writes each file, and the weights have their plain names.
    for folder in (tmp_path / "one", tmp_path / "two"):
        files = sorted(path.name for path in folder.glob("*.pt"))
        assert files == ["gradients.pt", "last.pt", "metrics.pt", "model.pt"]
    assert len(list((tmp_path / "two").glob("events.*"))) == len(list((tmp_path / "one").glob("events.*")))
    load_network(tmp_path / "two" / "model.pt", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_validation_counts_every_pair_as_often(processes: int, study: Path, tmp_path: Path) -> None:
    train(study, tmp_path / "one", processes=1, batch_size=1, learning_rate=0)
    train(study, tmp_path / "several", processes=processes, batch_size=1, learning_rate=0)
    one, several = (torch.load(tmp_path / name / "metrics.pt", weights_only=True) for name in ("one", "several"))
    assert 0 < one["val_mean_dice"] < 1
    assert several == pytest.approx(one, rel=1e-5)


def test_a_process_on_its_own_is_refused() -> None:
    with pytest.raises(InputError, match="start them with torchrun"):
        join_processes("cpu")
