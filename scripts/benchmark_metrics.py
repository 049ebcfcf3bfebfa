"""Measure time and peak memory of the metrics on a pair of synthetic label maps, optionally next to MONAI's metrics.

python scripts/benchmark_metrics.py --shape 160 192 224 --labels 54 --compare
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDistanceMetric
from monai.networks.utils import one_hot
from scipy.ndimage import map_coordinates, zoom
from scipy.spatial import KDTree

from sacb_bundle.metrics import (
    dice,
    folding_percentage,
    non_diffeomorphic_volume,
    score_pair,
    sd_log_jacobian,
    surface_distances,
)

SPACING_MM = (1.0, 1.0, 1.0)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], amplitude: float) -> np.ndarray:
    """Return a random displacement field that is smooth over 24 voxels.

    Args:
        rng: random generator.
        shape: sizes D, H and W.
        amplitude: standard deviation, in voxels.

    Returns:
        Displacement field (3, D, H, W) fp32, in voxels.
    """
    coarse = [max(2, size // 24) for size in shape]
    factors = np.divide(shape, coarse)
    field = np.stack([zoom(rng.standard_normal(coarse), factors, mode="nearest", grid_mode=True) for _ in range(3)])
    return (amplitude * field / field.std()).astype(np.float32)


def label_maps(shape: tuple[int, ...], labels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return regions with wavy borders in an ellipsoid, the same regions smoothly warped, and the field of the warp."""
    rng = np.random.default_rng(0)
    grid = np.indices(shape, dtype=np.float32)
    centre = (np.array(shape, dtype=np.float32) - 1) / 2
    radii = 0.9 * centre

    directions = rng.standard_normal((labels, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seeds = centre + radii * directions * rng.uniform(size=(labels, 1)) ** (1 / 3)

    points = np.moveaxis(grid + smooth_field(rng, shape, amplitude=3), 0, -1)
    inside = (((points - centre) / radii) ** 2).sum(axis=-1) < 1
    fixed = np.where(inside, 1 + KDTree(seeds).query(points)[1], 0).astype(np.int16)
    field = smooth_field(rng, shape, amplitude=2)
    return fixed, map_coordinates(fixed, grid + field, order=0, mode="nearest"), field


def monai_dice(fixed: np.ndarray, warped: np.ndarray, labels: int) -> object:
    """Compute MONAI's Dice of each label, including the one-hot images that it needs."""
    return DiceMetric(include_background=False, reduction="none")(*_one_hot_pair(fixed, warped, labels))


def monai_surface_distances(fixed: np.ndarray, warped: np.ndarray, labels: int) -> list[object]:
    """Compute MONAI's HD95 and ASSD of each label, including the one-hot images that they need."""
    images = _one_hot_pair(fixed, warped, labels)
    metrics = (
        HausdorffDistanceMetric(percentile=95, reduction="none"),
        SurfaceDistanceMetric(symmetric=True, reduction="none"),
    )
    return [metric(*images, spacing=SPACING_MM) for metric in metrics]


def _one_hot_pair(fixed: np.ndarray, warped: np.ndarray, labels: int) -> list[torch.Tensor]:
    return [one_hot(torch.from_numpy(image)[None, None], labels + 1) for image in (fixed, warped)]


def measure(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median time in seconds, and the peak memory in MiB beyond what the process held before (Linux)."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory("VmRSS")
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return median(seconds), _memory("VmHWM") - before


def _memory(key: str) -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[key].split()[0]) / 1024


def main() -> None:
    """Measure the metrics and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shape", type=int, nargs=3, default=(160, 192, 224), metavar=("D", "H", "W"), help="image size in voxels"
    )
    parser.add_argument("--labels", type=int, default=54, metavar="N", help="number of labels (default: 54)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs per metric; the median is reported")
    parser.add_argument("--compare", action="store_true", help="also measure MONAI's metrics")
    options = parser.parse_args()

    fixed, warped, field = label_maps(tuple(options.shape), options.labels)
    names = range(1, options.labels + 1)
    runs: list[tuple[str, Callable[[], object]]] = [
        ("Dice", lambda: dice(fixed, warped, names)),
        ("HD95 + ASSD", lambda: surface_distances(fixed, warped, names, SPACING_MM)),
        ("folding", lambda: folding_percentage(field)),
        ("NDV", lambda: non_diffeomorphic_volume(field)),
        ("SD log J", lambda: sd_log_jacobian(field)),
        ("a pair, all scores", lambda: score_pair(fixed, warped, warped, field, names, SPACING_MM)),
    ]
    if options.compare:
        runs += [
            ("Dice, MONAI", lambda: monai_dice(fixed, warped, options.labels)),
            ("HD95 + ASSD, MONAI", lambda: monai_surface_distances(fixed, warped, options.labels)),
        ]

    scores = dice(fixed, warped, names)
    print(f"{' x '.join(map(str, options.shape))} voxels, {torch.get_num_threads()} threads, ", end="")
    print(f"{len(scores)} labels with a mean Dice of {fmean(scores.values()):.2f}\n")
    print(f"{'metric':20}{'seconds':>10}{'peak MiB':>10}")
    for name, run in runs:
        seconds, memory = measure(run, options.repeats)
        print(f"{name:20}{seconds:10.2f}{memory:10.0f}", flush=True)


if __name__ == "__main__":
    main()
