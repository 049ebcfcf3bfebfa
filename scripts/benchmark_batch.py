"""Measure a study: time spent outside the network, peak memory over the cases and GPU load."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path
from statistics import fmean, median

import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from sacb_bundle.data import study_pairs

ROOT = Path(__file__).resolve().parent.parent
EARLY = 20  # cases


def main() -> None:
    """Run the measurement."""
    options = arguments()
    warnings.filterwarnings("ignore")
    logging.basicConfig(level=logging.WARNING)
    available = study_pairs(options.dataset_dir, "", "ordered", None)
    pairs = [available[number % len(available)] | {"id": f"case {number}"} for number in range(options.pairs)]
    with tempfile.TemporaryDirectory() as output:
        workflow = ConfigWorkflow(
            str(ROOT / "configs" / "inference.json"),
            workflow_type="infer",
            logging_file=False,
            bundle_root=str(ROOT),
            pairs=tuple(pairs),
            output_dir=Path(output),
            initial=options.initial,
            spacing=options.spacing,
            jobs=options.jobs,
            **({"device": options.device} if options.device else {}),
        )
        workflow.initialize()
        evaluator = workflow.evaluator
        on_gpu = evaluator.state.device.type == "cuda"
        early: list[float] = []
        start = time.perf_counter()
        with GpuLoad(on_gpu) as load, Memory() as memory:
            evaluator.add_event_handler(Events.ITERATION_COMPLETED(once=EARLY), lambda: early.append(memory.peak))
            workflow.run()
        wall = time.perf_counter() - start
        seconds = [json.loads(path.read_text())["seconds"] for path in Path(output).glob("*/case.json")]
    print(f"\n{torch.cuda.get_device_name() if on_gpu else f'CPU, {torch.get_num_threads()} threads'}")
    print(f"{len(seconds)} cases, {wall / len(seconds):.2f} s/case, {options.jobs} jobs, alignment {options.initial}")
    for name in ("prepare", "network", "finish"):
        print(f"{name:<10}{median(case[name] for case in seconds):8.3f} s (median)")
    network = sum(case["network"] for case in seconds)
    print(f"network running {network / wall:.0%} of the time")
    if on_gpu:
        print(f"GPU busy {load.mean():.0%} of the time")
    print(f"peak memory {memory.peak:.3f} GB")
    if early:
        print(f"peak memory {early[0]:.3f} GB in the first {EARLY} cases: {memory.peak / early[0] - 1:+.1%} in all")


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset_dir", type=Path, help="folder of scans; all ordered pairs are used in turn")
    parser.add_argument("--pairs", type=int, default=40, help="number of cases (default: 40)")
    parser.add_argument("--jobs", type=int, default=2, help="--jobs of `sacb batch` (default: 2)")
    parser.add_argument("--initial", default="affine", help="--initial of `sacb batch` (default: affine)")
    parser.add_argument("--spacing", type=float, default=2.0, help="--spacing of `sacb batch` (default: 2)")
    parser.add_argument("--device", help="--device of `sacb batch`")
    return parser.parse_args()


class Memory:
    """Peak memory of this process and its children in GB, sampled within a block (Linux)."""

    def __enter__(self) -> Memory:
        self.peak = 0.0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.sample)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()

    def sample(self) -> None:
        """Sample the memory until the block ends."""
        while not self.over.wait(0.1):
            self.peak = max(self.peak, memory_of_processes())


def memory_of_processes() -> float:
    """Return the memory in GB of this process and its main thread's children, counting shared memory once."""
    own = Path("/proc/self")
    children = (own / "task" / str(os.getpid()) / "children").read_text().split()
    total = 0
    for process in (own, *(Path("/proc") / child for child in children)):
        try:
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:  # the process has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1e6


class GpuLoad:
    """Share of time in which the GPU computes, sampled by nvidia-smi within a block."""

    def __init__(self, on_gpu: bool) -> None:
        self.on_gpu = on_gpu

    def __enter__(self) -> GpuLoad:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True) if self.on_gpu else None
        return self

    def __exit__(self, *error: object) -> None:
        if self.process is not None:
            self.process.terminate()
            self.samples = [int(line) for line in self.process.communicate()[0].split()]

    def mean(self) -> float:
        """Return the mean share, from 0 to 1."""
        return fmean(self.samples) / 100


if __name__ == "__main__":
    main()
