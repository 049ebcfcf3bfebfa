"""Measure time, peak memory and achieved rates of the whole network and of each of its operations.

python scripts/benchmark.py --shape 160 192 224 --clusters 7 --device cuda --json benchmark.json
python scripts/benchmark.py --shape 80 96 112 --device cpu

The ceilings (memory bandwidth, rate of matrix products) are measured in the same run. The floor of an operation is the
longer of two times: the minimum number of bytes it must move (each input read once, for k-means once per iteration, and
each output written once, in fp32) at that bandwidth, and its arithmetic at that rate.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from benchmark_operations import K_MEANS_ITERATIONS, Operation, Shape, network_operations
from torch import nn

from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
from sacb_bundle.networks import SACBNet
from sacb_bundle.ops import Captured, CapturedGradients, fused_kernels
from sacb_bundle.ops.fused import runs_fused

PARTS = ("inference", "training", "operations")
AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Cost:
    """Median time in ms, and peak memory in MB beyond what was held before."""

    ms: float
    peak_mb: float


class Bench:
    """Measurements on one device in one precision.

    Args:
        device: device to measure on.
        precision: "tf32", "fp32", "fp16" or "bf16".
        repeats: number of timed runs.
    """

    def __init__(self, device: torch.device, precision: str, repeats: int) -> None:
        self.device = device
        self.precision = precision
        self.repeats = repeats

    def autocast(self) -> torch.autocast | nullcontext[None]:
        """Return the context manager of the precision."""
        if self.precision in AUTOCAST:
            return torch.autocast(self.device.type, dtype=AUTOCAST[self.precision])
        return nullcontext()

    def once(self, run: Callable[[], object]) -> Cost:
        """Measure the time (host clock) and peak memory of a single run."""
        gc.collect()
        before = self.reset_peak()
        start = time.perf_counter()
        run()
        peak = self.peak()
        return Cost(1e3 * (time.perf_counter() - start), peak - before)

    def measure(self, run: Callable[[], object]) -> Cost:
        """Measure the median time of `repeats` runs after a warm-up, and their peak memory."""
        for _ in range(1 if self.device.type == "cpu" else 3):
            run()
        gc.collect()
        before = self.reset_peak()
        times = [self.time(run) for _ in range(self.repeats)]
        return Cost(median(times), self.peak() - before)

    def time(self, run: Callable[[], object]) -> float:
        """Return the time of one run in ms, measured by the device's clock if it has one."""
        if self.device.type == "cpu":
            start = time.perf_counter()
            run()
            return 1e3 * (time.perf_counter() - start)
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        return first.elapsed_time(last)

    def reset_peak(self) -> float:
        """Reset the peak memory, and return the memory currently held, in MB."""
        if self.device.type == "cpu":
            Path("/proc/self/clear_refs").write_text("5")  # Linux only
            return resident_mb("VmRSS")
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e6

    def peak(self) -> float:
        """Return the peak memory in MB."""
        if self.device.type == "cpu":
            return resident_mb("VmHWM")
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 1e6

    def forward(self, operation: Operation) -> Cost:
        """Measure the operation without gradients."""

        def run() -> None:
            with torch.no_grad(), self.autocast():
                operation.run()

        return self.measure(run)

    def forward_and_backward(self, operation: Operation) -> Cost:
        """Measure the operation with the gradients of its parameters."""
        with self.autocast():
            upstream = torch.randn_like(operation.run())

        def run() -> None:
            with self.autocast():
                output = operation.run()
            torch.autograd.grad(output, operation.parameters, upstream)

        return self.measure(run)

    def ceilings(self) -> dict[str, float]:
        """Measure the bandwidth of a large copy (read plus write) in GB/s, and a large matrix product in TFLOP/s."""
        on_gpu = self.device.type == "cuda"
        source = torch.randn(2**28 if on_gpu else 2**25, device=self.device)
        target = torch.empty_like(source)
        copy = self.measure(lambda: target.copy_(source))
        size = 8192 if on_gpu else 2048
        first, second = (
            torch.randn(size, size, device=self.device, dtype=AUTOCAST.get(self.precision, torch.float32))
            for _ in range(2)
        )
        product = self.measure(lambda: first @ second)
        return {"GB/s": 8e-6 * source.numel() / copy.ms, "TFLOP/s": 2e-9 * size**3 / product.ms}


def resident_mb(key: str) -> float:
    """Return an entry of /proc/self/status, in MB."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[key].split()[0]) * 1024 / 1e6


def network_costs(bench: Bench, shape: Shape, num_clusters: int, parts: Sequence[str]) -> dict[str, Cost]:
    """Measure inference and a training step (forward, NCC and smoothness, backward, Adam), including the first of each.

    The first run in a process loads the kernels and compiles those missing from Triton's cache on disk. On a CUDA
    device, both are also measured as captured graphs that are replayed.
    """
    torch.manual_seed(0)
    network = SACBNet(num_clusters=num_clusters, max_iterations=K_MEANS_ITERATIONS).to(bench.device)
    # Smooth noise: flat images and white noise do not cluster representatively.
    image = nn.functional.avg_pool3d(torch.rand(1, 2, *shape), 5, stride=1, padding=2).to(bench.device)
    loss = RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def infer() -> None:
        with torch.no_grad(), bench.autocast():
            network(image)

    def value_of(image: torch.Tensor) -> tuple[torch.Tensor]:
        with bench.autocast():
            return (loss(network(image), image),)

    def step() -> None:
        optimizer.zero_grad()
        value_of(image)[0].backward()
        optimizer.step()

    captured, gradients = Captured(network), CapturedGradients(value_of, network.parameters())

    def replay() -> None:
        with torch.no_grad(), bench.autocast():
            captured(image)

    def replayed_step() -> None:
        gradients(image)
        optimizer.step()

    costs = {}
    for part, name, run, replayed in (
        ("inference", "inference", infer, replay),
        ("training", "training step", step, replayed_step),
    ):
        if part in parts:
            costs[f"first {name}"], costs[name] = bench.once(run), bench.measure(run)
            if bench.device.type == "cuda":
                # The fourth run captures, and the measurement warms up with three.
                replayed()
                costs[f"replayed {name}"] = bench.measure(replayed)
    return costs


def operation_row(bench: Bench, operation: Operation, ceilings: dict[str, float]) -> dict[str, object]:
    """Return the measured times of an operation and its floors."""
    times_forward = bench.forward(operation)
    row: dict[str, object] = {"operation": operation.name, "where": operation.where}
    passes = [("forward", times_forward, 1)]
    if operation.parameters:
        passes.append(("forward and backward", bench.forward_and_backward(operation), 1 + operation.backward_work))
    for name, cost, work in passes:
        gigabytes = 4 * work * operation.values / 1e9
        teraflop = work * operation.operations / 1e12
        floor = 1e3 * max(gigabytes / ceilings["GB/s"], teraflop / ceilings["TFLOP/s"])
        row[name] = {
            "ms": cost.ms,
            "peak_mb": cost.peak_mb,
            "GB/s": 1e3 * gigabytes / cost.ms,
            "TFLOP/s": 1e3 * teraflop / cost.ms,
            "floor_ms": floor,
            "times_floor": cost.ms / floor,
        }
    return row


def print_row(row: dict) -> None:
    """Print one table row per pass."""
    for name in ("forward", "forward and backward"):
        if name in row:
            cost = row[name]
            print(
                f"| {row['operation']} | {row['where']} | {name} | {cost['ms']:.3g} | {cost['peak_mb']:.0f} "
                f"| {cost['GB/s']:.0f} | {cost['TFLOP/s']:.3g} | {cost['floor_ms']:.3g} | {cost['times_floor']:.1f} |",
                flush=True,
            )


def describe(device: torch.device) -> str:
    """Return the name of the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", type=int, nargs=3, default=(160, 192, 224), metavar=("D", "H", "W"), help="image size in voxels"
    )
    parser.add_argument("--clusters", type=int, default=7, metavar="N", help="k-means clusters (default: 7)")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda (default: a GPU, if any)"
    )
    parser.add_argument(
        "--precision",
        choices=("tf32", "fp32", *AUTOCAST),
        help="fp32: the only choice on a CPU; tf32: fp32 numbers and TF32 products, the default on CUDA devices, "
        "as for PyTorch's convolutions; fp16, bf16: autocast",
    )
    parser.add_argument("--plain", action="store_true", help="turn the fused kernels off")
    parser.add_argument("--measure", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=10, help="timed runs; the median is reported (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file for all results")
    options = parser.parse_args(arguments)
    if any(size % 16 or size < 32 for size in options.shape):
        parser.error(f"--shape {options.shape}: every size must be a multiple of 16, at least 32")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: no CUDA device found")
    if options.clusters < 2:
        parser.error(f"--clusters {options.clusters}: must be at least 2")
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json {options.json}: folder {options.json.parent} does not exist")
    if options.precision is None:
        options.precision = "tf32" if options.device.startswith("cuda") else "fp32"
    if options.precision != "fp32" and not options.device.startswith("cuda"):
        parser.error(f"--precision {options.precision}: on a CPU the network computes in fp32")
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: must be at least 1")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write the results."""
    options = parse(arguments)
    device, shape = torch.device(options.device), tuple(options.shape)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"
    bench = Bench(device, options.precision, options.repeats)
    switch = fused_kernels(False) if options.plain else nullcontext()
    with switch, torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        fused = runs_fused(torch.empty(1, 1, device=device))
        ceilings = bench.ceilings()
        print(
            f"{describe(device)}, torch {torch.__version__}, {options.precision}, {options.clusters} clusters, ", end=""
        )
        print(f"{' x '.join(map(str, shape))} voxels, {'fused kernels' if fused else 'plain operations'}")
        print(f"ceilings: {ceilings['GB/s']:.0f} GB/s, {ceilings['TFLOP/s']:.3g} TFLOP/s\n")
        costs = network_costs(bench, shape, options.clusters, options.measure)
        for name, cost in costs.items():
            print(f"{name:24}{cost.ms:10.1f} ms{cost.peak_mb:10.0f} MB")
        rows = []
        if "operations" in options.measure:
            print("\n| operation | where | pass | ms | peak MB | GB/s | TFLOP/s | floor, ms | times floor |")
            print("|---|---|---|---|---|---|---|---|---|")
            for operation in network_operations(device, shape, options.clusters):
                rows.append(operation_row(bench, operation, ceilings))
                print_row(rows[-1])
    if options.json:
        report = {
            "device": describe(device),
            "torch": torch.__version__,
            "fused": fused,
            "precision": options.precision,
            "shape": shape,
            "clusters": options.clusters,
            "ceilings": ceilings,
            "network": {name: asdict(cost) for name, cost in costs.items()},
            "operations": rows,
        }
        options.json.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
