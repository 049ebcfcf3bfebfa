"""`sacb prepare`: turn a data set as downloaded into a folder to train on."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..datasets import DATASETS
from .options import file, folder, given, interruptible, show_log

RESULTS = (
    "OUT holds images/, labels/, dataset.json with the split, and prepared.json, which records what was done. A call "
    "that was interrupted continues when it is repeated."
)
EXAMPLE = "sacb prepare abdomen-ct RawData abdomen\n  sacb prepare folder scans brains --spacing 2 --size 80 96 80"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("name", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS))
    verb.add_argument("raw", type=folder, metavar="RAW", help="folder of the download")
    verb.add_argument("output", type=Path, metavar="OUT", help="folder of the prepared data set")
    verb.add_argument(
        "--template", type=file, help="image that all subjects are aligned to (default: that of the data set)"
    )
    verb.add_argument(
        "--spacing", type=float, metavar="MM", help="spacing of the result (default: that of the data set)"
    )
    verb.add_argument(
        "--size",
        type=int,
        nargs=3,
        metavar="VOXELS",
        help="numbers of voxels along the axes of the template (default: those of the data set)",
    )


def run(options: argparse.Namespace) -> None:
    """Prepare the data set.

    Args:
        options: values of the options of `add_options`.

    Raises:
        SystemExit: with 130, if the preparation is interrupted.
        InputError: as in `run_workflow`.
    """
    show_log()
    from ..engine.workflow import run_workflow

    chosen = given(options, "template", "spacing", "size")
    if "size" in chosen:
        chosen["size"] = tuple(chosen["size"])
    with interruptible("The same call continues."):
        run_workflow("prepare", "train", name=options.name, raw=options.raw, output_dir=options.output, **chosen)
