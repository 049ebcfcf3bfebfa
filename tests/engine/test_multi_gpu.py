"""Training in several processes, on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from sacb_bundle.networks import SACBNet, load_checkpoint
from tests.engine.workflows import ROOT

TRAIN = """
import sys
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

configs, dataset_dir, folder, batch_size = sys.argv[1].split(","), sys.argv[2], sys.argv[3], int(sys.argv[4])
made = ConfigWorkflow(
    configs, workflow_type="train", logging_file=False, dataset_dir=dataset_dir, ckpt_dir=folder, output_dir=folder,
    batch_size=batch_size, pairs_per_epoch=2, max_epochs=1, **{"network_def#base_channels": 2})
made.initialize()
first = []
network = made.parser.get_parsed_content("network_def")
leads = made.parser.get_parsed_content("leads")

def keep(engine):
    gradients = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    if leads:
        torch.save(gradients, f"{folder}/gradients.pt")

made.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=1), keep)
made.run()
made.finalize()
"""


def trained(study: Path, folder: Path, processes: int) -> dict[str, torch.Tensor]:
    """Gradients of the first step, of two pairs in all."""
    folder.mkdir()
    (folder / "train.py").write_text(TRAIN)
    names = ["train.json"] if processes == 1 else ["train.json", "multi_gpu_train.json"]
    configs = ",".join(str(ROOT / "configs" / name) for name in names)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start = [sys.executable, *(launcher if processes > 1 else [])]
    subprocess.run([*start, folder / "train.py", configs, study, folder, str(2 // processes)], check=True)
    gradients: dict[str, torch.Tensor] = torch.load(folder / "gradients.pt", weights_only=True)
    return gradients


def test_two_processes_take_the_step_of_one(study: Path, tmp_path: Path) -> None:
    one, two = trained(study, tmp_path / "one", 1), trained(study, tmp_path / "two", 2)
    assert one.keys() == two.keys()
    largest = max(float(gradient.abs().max()) for gradient in one.values())
    assert largest > 0
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-3, atol=1e-5 * largest)
    # What one process writes, the other does not; the weights have their plain names.
    assert sorted(path.name for path in (tmp_path / "two").glob("*.pt")) == ["gradients.pt", "last.pt", "model.pt"]
    assert len(list((tmp_path / "two").glob("events.*"))) == len(list((tmp_path / "one").glob("events.*")))
    load_checkpoint(SACBNet(base_channels=2), tmp_path / "two" / "model.pt")
