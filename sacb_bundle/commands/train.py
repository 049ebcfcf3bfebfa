"""`sacb train`: train a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import INITIAL, add_config, add_device, file, folder, given, interruptible, number, show_log, word

RESULTS = (
    "It runs configs/train.json and writes into OUTPUT: the best weights (model.pt, with model.json, for --model of "
    "other verbs), the state to resume from (last.pt), and TensorBoard logs. The shipped weights do not change."
)
# Modules whose lines about each pair are not shown.
QUIET = ("registration.prepare",)
EXAMPLE = "sacb train --dataset DIR --config oasis --output runs/mine"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    data = verb.add_mutually_exclusive_group(required=True)
    data.add_argument("--dataset", type=folder, metavar="DIR", help="folder with images/ and, for validation, labels/")
    data.add_argument("--pairs", type=file, metavar="LIST", help="CSV or JSON list of pairs, such as follow-up scans")
    verb.add_argument(
        "--output", type=Path, default=Path("runs"), metavar="DIR", help="folder of the run (default: runs)"
    )
    add_config(verb)
    verb.add_argument("--max-epochs", type=number, metavar="N", help="number of epochs (default: that of the config)")
    verb.add_argument(
        "--initial",
        choices=INITIAL,
        help="alignment of pairs, and of scans that do not share a grid (default: affine)",
    )
    verb.add_argument("--spacing", type=float, metavar="MM", help="spacing of their working grid (default: 2)")
    verb.add_argument(
        "--modality",
        type=word,
        metavar="NAME",
        help="rule that scales intensities: mr, ct or auto (default: auto)",
    )
    verb.add_argument(
        "--resume",
        nargs="?",
        const=True,
        type=file,
        metavar="STATE",
        help="resume from OUTPUT/last.pt, or from another state; more --max-epochs extend the training",
    )
    verb.add_argument("--accept-changes", action="store_true", help="resume with other settings or data than before")
    verb.add_argument("--seed", type=number, help="seed of the shuffles and the augmentation (default: 0)")
    add_device(verb)


def run(options: argparse.Namespace) -> None:
    """Train the network.

    Args:
        options: values of the options of `add_options`.

    Raises:
        SystemExit: with 130, if the training is interrupted.
        InputError: if there is no such config, or no state to resume from, or as in `run_workflow`.
    """
    show_log(QUIET)
    from ..engine.workflow import overlays_of, run_workflow

    names: dict[str, Any] = {"output_dir": options.output}
    names |= {"data_list": options.pairs} if options.pairs else {"dataset_dir": options.dataset}
    names |= given(
        options, "max_epochs", "initial", "spacing", "modality", "resume", "accept_changes", "seed", "device"
    )
    if options.resume and options.max_epochs is None:
        from ..engine.training_state import epochs_to_train

        epochs = epochs_to_train(options.resume, options.output, None)
        names |= {} if epochs is None else {"max_epochs": epochs}
    with interruptible("Continue with --resume."):
        workflow = run_workflow("train", "train", overlays_of(options.config), **names)
    best_weights = workflow.parser.get_parsed_content("save_best")
    if best := best_weights.best:
        print(
            f"The best weights, of epoch {best['epoch']} ({best['metric']} {best['value']:.4f}), are in "
            f"{best_weights.path}."
        )
