"""Measure the time of `sacb register` until it opens the first image, and of each step after that."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

# Runs in a separate process, so that every import counts.
PROGRAM = """
import json, sys, time
start = time.perf_counter()
marks = {}
fixed, moving, output, device = sys.argv[1:]
sys.addaudithook(
    lambda event, given: marks.setdefault("start", time.perf_counter())
    if event == "open" and str(given[0]) == fixed else None
)
import sacb_bundle.registration.register as room
from sacb_bundle.commands import main

def timed(module, name):
    function = getattr(module, name)
    def run(*given, **options):
        before = time.perf_counter()
        result = function(*given, **options)
        marks[name] = time.perf_counter() - before
        return result
    setattr(module, name, run)

for name in ("as_pair", "prepare", "predict"):
    timed(room, name)
options = ["--fixed", fixed, "--moving", moving, "--output", output]
assert main(["register", *options, *(["--device", device] if device else [])]) == 0
end = time.perf_counter()
steps = {"start, until the first image is read": marks["start"] - start, "read": marks["as_pair"]}
steps |= {"align and prepare": marks["prepare"], "network": marks["predict"]}
steps["warp, measure, draw, write"] = end - start - sum(steps.values())
print(json.dumps(steps | {"all": end - start}))
"""


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fixed", type=Path, help="fixed image")
    parser.add_argument("moving", type=Path, help="moving image")
    parser.add_argument("--device", default="", help="--device of `sacb register`")
    parser.add_argument("--repeats", type=int, default=5, help="number of runs; medians are printed (default: 5)")
    options = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as output:
        for _ in range(options.repeats):
            command = [sys.executable, "-c", PROGRAM, options.fixed, options.moving, output, options.device]
            result = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
            runs.append(json.loads(result.stdout.splitlines()[-1]))
    for name in runs[0]:
        print(f"{name:<40}{median(run[name] for run in runs):8.2f} s")


if __name__ == "__main__":
    main()
