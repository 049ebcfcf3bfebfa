"""The console script `sacb`: each verb fills in a config of the bundle and runs it."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .cli_options import (
    MODEL,
    ROOT,
    add_device,
    add_label_interpolation,
    add_transform,
    add_verb,
    add_workflow_options,
    file,
    folder,
    number,
    workflow_options,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: of the command line; those of the process by default.

    Returns:
        0, 1 if the work failed, or 130 if it was interrupted. Wrong arguments end the process with 2.
    """
    options = parser().parse_args(arguments)
    try:
        return run_config(options)
    except KeyboardInterrupt:
        print("Interrupted. Results that are there are whole; sacb batch goes on with --resume.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    top = argparse.ArgumentParser(
        prog="sacb", description="Register 3D medical images of any geometry, and use what comes out."
    )
    verbs = top.add_subparsers(metavar="VERB", required=True)
    add_register(verbs)
    add_batch(verbs)
    add_report(verbs)
    add_apply(verbs)
    add_invert(verbs)
    add_evaluate(verbs)
    return top


def add_register(verbs: Any) -> None:
    """`sacb register`."""
    verb = add_verb(
        verbs,
        "register",
        "Register two scans of any shape, spacing and orientation.",
        "It writes OUTPUT/warped.nii.gz, OUTPUT/transform.nii.gz (an ITK displacement field, LPS mm), "
        "OUTPUT/initial.tfm and OUTPUT/warped_labels.nii.gz, on the fixed image's own grid, a picture and a record.",
        "sacb register --fixed f.nii.gz --moving m.nii.gz --moving-labels l.nii.gz --output out",
    )
    verb.add_argument("--fixed", type=file, required=True, help=".nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr")
    verb.add_argument("--moving", type=file, required=True, help="the same; its grid need not be that of fixed")
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument("--moving-labels", type=file, help="label map on the moving image's grid, warped along")
    verb.add_argument("--fixed-mask", type=file, help="not 0 where the fixed image counts")
    verb.add_argument("--moving-mask", type=file, help="not 0 where the moving image counts")
    add_workflow_options(verb)
    verb.set_defaults(config="inference", fill_in=registration_options)


def registration_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `sacb register` fills in."""
    output = options.output.resolve()
    files = {
        "fixed": options.fixed,
        "moving": options.moving,
        "moving_labels": options.moving_labels,
        "fixed_mask": options.fixed_mask,
        "moving_mask": options.moving_mask,
    }
    pair = {"id": output.name} | {key: str(path) for key, path in files.items() if path is not None}
    return {
        "pairs": (pair,),
        "labels": None,
        "output_dir": output.parent,
        "dataset#data": "$@cases.checked(@pairs)",
        "jobs": 0,
        "handlers": [],  # no progress and no report over one pair
    } | workflow_options(options)


def add_batch(verbs: Any) -> None:
    """`sacb batch`."""
    verb = add_verb(
        verbs,
        "batch",
        "Register many pairs, and report on them.",
        "OUTPUT holds cases.csv, labels.csv, summary.json, report.html, and a folder for each pair with what "
        "`sacb register` writes. A pair that fails does not stop the others.",
        "sacb batch --pairs pairs.csv --output study\n"
        "  sacb batch --atlas atlas.nii.gz --atlas-labels labels.nii.gz --images scans --output study --resume",
    )
    pairs = verb.add_argument_group("pairs", "one of these says which")
    pairs.add_argument(
        "--pairs",
        type=file,
        metavar="CSV",
        help="table with the columns fixed, moving[, fixed_labels, moving_labels, fixed_mask, moving_mask, id]",
    )
    pairs.add_argument("--dataset", type=file, metavar="JSON", help="Learn2Reg's dataset.json, or a list of pairs")
    pairs.add_argument("--fixed-dir", type=folder, metavar="DIR", help="with --moving-dir: scans of the same names")
    pairs.add_argument("--moving-dir", type=folder, metavar="DIR", help="see --fixed-dir")
    pairs.add_argument(
        "--images",
        type=folder,
        metavar="DIR",
        help="all ordered pairs of its scans; or, with --atlas, the atlas to each",
    )
    pairs.add_argument("--atlas", type=file, help="moving image of all pairs, with --images")
    pairs.add_argument("--atlas-labels", type=file, help="label map of the atlas, carried over to each scan")
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument(
        "--resume", action="store_true", help="keep cases that are complete, of the same inputs and settings"
    )
    verb.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    verb.add_argument(
        "--jobs",
        type=number,
        default=2,
        metavar="N",
        help="processes that read and align, and cases that are written, at a time (default: 2)",
    )
    add_workflow_options(verb)
    verb.set_defaults(
        config="inference",
        fill_in=lambda options: batch_options(verb, options),
        quiet=("transforms", "study.cases"),  # what they say of each case; failures are told
    )


def batch_options(verb: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, Any]:
    """What `sacb batch` fills in."""
    from .data import atlas_pairs, labels_to_score, list_pairs, pairs_by_name, study_pairs

    given = {
        key for key in ("pairs", "dataset", "fixed_dir", "moving_dir", "images", "atlas", "atlas_labels")
        if getattr(options, key)
    }  # fmt: skip
    if given in ({"pairs"}, {"dataset"}):
        pairs = list_pairs("", options.pairs or options.dataset)
    elif given == {"fixed_dir", "moving_dir"}:
        pairs = pairs_by_name(options.fixed_dir, options.moving_dir)
    elif given == {"images"}:
        pairs = study_pairs(options.images, "", "ordered", None)
    elif {"images", "atlas"} <= given <= {"images", "atlas", "atlas_labels"}:
        pairs = atlas_pairs(options.atlas, options.atlas_labels, options.images)
    else:
        verb.error(
            "which pairs? Give --pairs, or --dataset, or --fixed-dir and --moving-dir, or --images, or --images and "
            "--atlas (and --atlas-labels)"
        )
    return {
        "pairs": tuple(pairs),
        "labels": labels_to_score(options.images) if given == {"images"} else None,
        "output_dir": options.output,
        "resume": options.resume,
        "jobs": options.jobs,
        "run_id": "plan" if options.dry_run else "run",
        # What is known of the training images is of the bundle's own weights.
        **({} if options.model == MODEL else {"study#trained_on": "$None"}),
    } | workflow_options(options)


def add_report(verbs: Any) -> None:
    """`sacb report`."""
    verb = add_verb(
        verbs,
        "report",
        "Make the tables and the report of a study anew, without registering.",
        "It writes cases.csv, labels.csv, summary.json and report.html into OUTPUT.",
        "sacb report study",
    )
    verb.add_argument("output", type=folder, metavar="OUTPUT", help="folder of the results of sacb batch")
    verb.set_defaults(config="report", device=None, fill_in=lambda options: {"output_dir": options.output})


def add_apply(verbs: Any) -> None:
    """`sacb apply`."""
    verb = add_verb(
        verbs,
        "apply",
        "Carry images, label maps and points of the moving image over to the fixed image.",
        "",
        "sacb apply --transform out/transform.nii.gz --reference f.nii.gz --input a.nii.gz b.nii.gz --output warped",
    )
    add_transform(verb, required=True)
    verb.add_argument(
        "--reference", type=file, required=True, help="image on whose grid the results lie: the fixed one"
    )
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument("--input", type=file, nargs="+", default=[], metavar="FILE", help="images")
    verb.add_argument("--labels", type=file, nargs="+", default=[], metavar="FILE", help="label maps")
    verb.add_argument(
        "--points",
        type=file,
        nargs="+",
        default=[],
        metavar="FILE",
        help="CSV (x,y,z) or 3D Slicer's markups (.mrk.json)",
    )
    verb.add_argument(
        "--points-space", choices=("LPS", "RAS"), default="LPS", help="coordinates of a CSV (default: LPS, as ITK's)"
    )
    add_label_interpolation(verb)
    add_device(verb)
    verb.set_defaults(
        config="apply",
        fill_in=lambda options: {
            "transform": options.transform,
            "reference": options.reference,
            "images": options.input,
            "labels": options.labels,
            "points": options.points,
            "output_dir": options.output,
            "label_interpolation": options.label_interpolation,
            "points_space": options.points_space,
        },
    )


def add_invert(verbs: Any) -> None:
    """`sacb invert`."""
    verb = add_verb(
        verbs,
        "invert",
        "Invert a transform, and measure the error of the inverse.",
        "The error is printed, and written as a map in mm beside the inverse (NAME_error.nii.gz).",
        "sacb invert --transform out/transform.nii.gz --reference m.nii.gz --output inverse.nii.gz",
    )
    add_transform(verb, required=True)
    verb.add_argument("--output", type=Path, required=True, metavar="FILE", help="the inverse, .nii.gz")
    verb.add_argument(
        "--reference",
        type=file,
        help="image on whose grid the inverse lies, the moving one (default: the transform's grid)",
    )
    add_device(verb)
    verb.set_defaults(
        config="invert",
        fill_in=lambda options: {
            "transform": options.transform,
            "output": options.output,
            "reference": options.reference or "",
        },
    )


def add_evaluate(verbs: Any) -> None:
    """`sacb evaluate`."""
    verb = add_verb(
        verbs,
        "evaluate",
        "Score a registration: Dice, HD95 and ASSD of labels, folding of the transform.",
        "",
        "sacb evaluate --fixed-labels f_labels.nii.gz --warped-labels out/warped_labels.nii.gz",
    )
    verb.add_argument("--fixed-labels", type=file, help="label map of the fixed image")
    verb.add_argument("--warped-labels", type=file, help="label map that was warped onto its grid")
    add_transform(verb, required=False)
    verb.add_argument("--output", type=Path, metavar="CSV", help="table of the scores of each label")
    verb.set_defaults(
        config="score",
        device=None,
        fill_in=lambda options: {
            key: getattr(options, key) or "" for key in ("fixed_labels", "warped_labels", "transform", "output")
        },
    )


def run_config(options: argparse.Namespace) -> int:
    """Run the config of a verb as `python -m monai.bundle run` does; 1, and a line that says why, if that fails.

    Paths are `Path` objects among the options, and pairs lie in a tuple: of a text, by itself or in a list, MONAI would
    take "$" and "@" for an expression to run.
    """
    config = ROOT / "configs" / f"{options.config}.json"
    if not config.is_file():
        print(
            f"error: {config} is missing; sacb runs from the bundle's folder, installed with pip -e.", file=sys.stderr
        )
        return 1
    warnings.filterwarnings("ignore")  # of libraries, about themselves
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    # Late, for these take seconds: help and wrong arguments are answered at once.
    from monai.bundle import ConfigWorkflow

    from .errors import InputError, reason_of

    for library in ("ignite", "monai.bundle.workflows"):
        logging.getLogger(library).setLevel(logging.CRITICAL)  # errors are told once, below
    for module in options.quiet:
        logging.getLogger(f"sacb_bundle.{module}").setLevel(logging.WARNING)
    try:
        workflow = ConfigWorkflow(
            str(config),
            workflow_type="infer",
            logging_file=False,
            **options.fill_in(options),
            **({"device": options.device} if options.device else {}),
        )
        workflow.initialize()
        workflow.run()
        workflow.finalize()
    except Exception as error:
        reason = reason_of(error)
        if not isinstance(reason, InputError):
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 1
    return 0
