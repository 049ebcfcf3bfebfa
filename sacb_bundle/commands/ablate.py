"""`sacb ablate`: train and score variants of a network."""

from __future__ import annotations

import argparse

from .compare import QUIET
from .options import add_experiment_options, given, interruptible, number, show_log, word

RESULTS = (
    "OUTPUT holds the table (ablation.csv, .md) and a folder for each training. The same command continues; torchrun "
    "shares the trainings among processes."
)
EXAMPLE = (
    "sacb ablate --dataset DIR --output ablation\n"
    "  sacb ablate --dataset DIR --vary network_def#num_clusters 5 7 9 11 --seeds 0 1 --output clusters"
)


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    add_experiment_options(verb)
    verb.add_argument(
        "--rows",
        nargs="+",
        type=word,
        metavar="TABLE",
        help="table3 for the levels that have a SACB, table4 for the clusters and the descriptors (default: both, "
        "unless --vary is given)",
    )
    verb.add_argument(
        "--vary",
        nargs="+",
        type=word,
        action="append",
        default=[],
        metavar=("KEY", "VALUE"),
        help="key of train.json and its values, as JSON or plain text; each --vary counts alone",
    )
    verb.add_argument(
        "--seeds", nargs="+", type=number, default=[0], metavar="SEED", help="seeds of the trainings (default: 0)"
    )


def run(options: argparse.Namespace) -> None:
    """Train and score the variants.

    Args:
        options: values of the options of `add_options`.

    Raises:
        SystemExit: with 130, if it is interrupted.
        InputError: as in `sacb_bundle.experiments.Ablation`.
    """
    show_log(QUIET)
    from ..engine.workflow import run_workflow
    from ..experiments.variants import parsed

    vary = tuple((key, *map(parsed, values)) for key, *values in options.vary)
    rows = {"rows": tuple(options.rows or ())} if options.rows or vary else {}
    with interruptible("The same command continues."):
        run_workflow(
            "ablate",
            "train",
            dataset_dir=options.dataset,
            output_dir=options.output,
            vary=vary,
            seeds=tuple(options.seeds),
            **rows,
            **given(options, "config", "max_epochs", "device"),
        )
