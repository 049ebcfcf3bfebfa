"""Runs of `sacb batch` on small phantoms."""

from __future__ import annotations

import csv
from pathlib import Path

from sacb_bundle.commands import main

SMALL = ["--device", "cpu", "--initial", "none"]
RESULTS = ["case.json", "initial.tfm", "picture.jpg", "transform.nii.gz", "warped.nii.gz", "warped_labels.nii.gz"]


def batch(output: Path, model: Path, *arguments: object, jobs: int = 0) -> int:
    """Run `sacb batch` in this process."""
    options = ["--output", output, "--model", model, "--jobs", jobs, *arguments]
    return main(["batch", *map(str, options), *SMALL])


def rows_of(output: Path) -> dict[str, dict[str, str]]:
    """Return the rows of cases.csv by the id of the case."""
    with open(output / "cases.csv", newline="", encoding="utf-8") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def contents(output: Path) -> dict[str, bytes]:
    """Return the transforms, images and label maps that a study has written."""
    return {str(path.relative_to(output)): path.read_bytes() for path in sorted(output.rglob("*.nii.gz"))}


def leftovers(output: Path) -> list[Path]:
    """Return the unfinished folders and files."""
    return [path for path in output.rglob("*") if "unfinished" in path.name]
