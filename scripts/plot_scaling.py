"""Tabulate and plot cost against image size and number of clusters, from the files written by scripts/benchmark.py.

python scripts/plot_scaling.py scaling/*.json --output docs/scaling.png
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from math import prod
from pathlib import Path

import matplotlib.pyplot as plt

QUANTITIES = {"ms": "time, ms", "peak_mb": "peak memory, MB"}
RUNS = ("inference", "training step")


def print_table(reports: list[dict]) -> None:
    """Print a Markdown table with one row per report."""
    print("| shape | clusters | inference | | training step | |\n|---|---|---|---|---|---|")
    for report in reports:
        costs = [report["network"][run] for run in RUNS]
        cells = [f"{cost['ms']:.1f} ms | {cost['peak_mb'] / 1e3:.2f} GB" for cost in costs]
        print(f"| {'x'.join(map(str, report['shape']))} | {report['clusters']} | {' | '.join(cells)} |")


def plot(reports: list[dict], path: Path) -> None:
    """Plot time and memory against voxels and against clusters, each at the other's most frequent value."""
    usual_clusters = Counter(report["clusters"] for report in reports).most_common(1)[0][0]
    usual_shape = Counter(tuple(report["shape"]) for report in reports).most_common(1)[0][0]
    by_size = sorted((r for r in reports if r["clusters"] == usual_clusters), key=lambda r: prod(r["shape"]))
    by_clusters = sorted((r for r in reports if tuple(r["shape"]) == usual_shape), key=lambda r: r["clusters"])
    figure, axes = plt.subplots(2, 2, figsize=(9, 6), sharex="col", layout="constrained")
    for row, (quantity, title) in zip(axes, QUANTITIES.items(), strict=True):
        for run in RUNS:
            values = [report["network"][run][quantity] for report in by_size]
            row[0].plot([prod(report["shape"]) / 1e6 for report in by_size], values, "o-", label=run)
            values = [report["network"][run][quantity] for report in by_clusters]
            row[1].plot([report["clusters"] for report in by_clusters], values, "o-", label=run)
        row[0].set_ylabel(title)
        for axis in row:
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
        row[0].set_xlim(left=0)
    axes[0, 0].legend()
    axes[0, 0].set_title(f"{usual_clusters} clusters")
    axes[0, 1].set_title("x".join(map(str, usual_shape)))
    axes[1, 0].set_xlabel("million voxels")
    axes[1, 1].set_xlabel("clusters")
    figure.suptitle(reports[0]["device"])
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read the reports, print the table and write the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", help="files written by scripts/benchmark.py --json")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="PNG file to write")
    options = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in options.reports]
    if len({(report["device"], report["precision"], report["fused"]) for report in reports}) > 1:
        parser.error("all reports must have the same device, precision and kernels")
    if not all(run in report["network"] for report in reports for run in RUNS):
        parser.error(f"every report must hold {' and '.join(RUNS)}; measure them with --measure inference training")
    reports.sort(key=lambda report: (prod(report["shape"]), report["clusters"]))
    print_table(reports)
    plot(reports, options.output)


if __name__ == "__main__":
    main()
