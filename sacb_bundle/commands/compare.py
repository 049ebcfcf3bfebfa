"""`sacb compare`: compare methods on the test subjects of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_experiment_options, given, interruptible, show_log, weights, word

RESULTS = (
    "A network without weights is trained first. OUTPUT holds the table (comparison.csv, .md), a page with plots and "
    "pictures (comparison.html), and a folder for each method. The same command continues."
)
# Modules that log each pair.
QUIET = ("registration", "transforms")
EXAMPLE = "sacb compare --dataset DIR --methods none affine syn sacb-net sacb-net+refine --output comparison"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    add_experiment_options(verb)
    verb.add_argument(
        "--methods",
        nargs="+",
        type=word,
        required=True,
        metavar="METHOD",
        help="none, affine, syn, or a network such as voxelmorph-1 or sacb-net, with +refine after it to refine each "
        "pair; an unknown name lists all",
    )
    verb.add_argument(
        "--weights",
        nargs="+",
        type=_weights_of_method,
        default=[],
        metavar="METHOD=MODEL",
        help="weights of a network, which is then not trained",
    )
    verb.add_argument(
        "--pairing",
        choices=("ordered", "consecutive", "atlas"),
        help="all ordered pairs, each subject to the next, or the first subject to each other one (default: that of "
        "the config, or ordered)",
    )


def run(options: argparse.Namespace) -> None:
    """Compare the methods.

    Args:
        options: values of the options of `add_options`.

    Raises:
        SystemExit: with 130, if it is interrupted.
        InputError: as in `sacb_bundle.experiments.Comparison`.
    """
    show_log(QUIET)
    from ..engine.workflow import run_workflow

    with interruptible("The same command continues."):
        run_workflow(
            "compare",
            "infer",
            dataset_dir=options.dataset,
            output_dir=options.output,
            methods=tuple(options.methods),
            weights=dict(options.weights),
            **given(options, "config", "max_epochs", "pairing", "device"),
        )


def _weights_of_method(text: str) -> tuple[str, Path]:
    """Return the name of a method and the path of its weights.

    Raises:
        ArgumentTypeError: if the text does not name both, or there is no such file.
    """
    name, equals, path = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: must be a method and its weights, such as sacb-net=model.pt")
    return word(name), weights(path)
