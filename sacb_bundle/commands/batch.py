"""`sacb batch`: register many pairs."""

from __future__ import annotations

import argparse
from collections.abc import Set
from pathlib import Path
from typing import Any

from .options import add_registration_options, file, folder, given, number, show_log

RESULTS = (
    "OUTPUT holds cases.csv, labels.csv, summary.json, report.html, and a folder for each pair with the outputs of "
    "`sacb register`. A failed pair does not stop the others."
)
EXAMPLE = (
    "sacb batch --pairs pairs.csv --output study\n"
    "  sacb batch --atlas atlas.nii.gz --atlas-labels labels.nii.gz --images scans --output study --resume"
)
SOURCES = ("pairs", "dataset", "fixed_dir", "moving_dir", "images", "atlas", "atlas_labels")
# Modules that log each case; only failures are shown.
QUIET = ("transforms", "registration", "study.cases")


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb, which also reports a wrong choice of pairs.
    """
    pairs = verb.add_argument_group("pairs", "give one of these")
    pairs.add_argument(
        "--pairs",
        type=file,
        metavar="CSV",
        help="table with the columns fixed, moving[, fixed_labels, moving_labels, fixed_mask, moving_mask, id]",
    )
    pairs.add_argument("--dataset", type=file, metavar="JSON", help="dataset.json of Learn2Reg, or a list of pairs")
    pairs.add_argument("--fixed-dir", type=folder, metavar="DIR", help="fixed scans, named as in --moving-dir")
    pairs.add_argument("--moving-dir", type=folder, metavar="DIR", help="moving scans, see --fixed-dir")
    pairs.add_argument(
        "--images",
        type=folder,
        metavar="DIR",
        help="scans to register in all ordered pairs, or, with --atlas, the atlas to each",
    )
    pairs.add_argument("--atlas", type=file, help="moving image of all pairs, with --images")
    pairs.add_argument("--atlas-labels", type=file, help="label map of the atlas, warped onto each scan")
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument("--resume", action="store_true", help="keep complete cases with the same inputs and settings")
    verb.add_argument("--dry-run", action="store_true", help="print the plan and exit")
    verb.add_argument(
        "--jobs",
        type=number,
        default=2,
        metavar="N",
        help="number of processes that read and align, and of cases written at a time (default: 2)",
    )
    add_registration_options(verb)
    verb.set_defaults(verb=verb)


def run(options: argparse.Namespace) -> None:
    """Register the pairs.

    Args:
        options: values of the options of `add_options`.

    Raises:
        SystemExit: if the options name no pairs, or pairs of several sources.
        InputError: if the pairs cannot be listed. MONAI wraps errors of the run in its own, see `reason_of`.
    """
    sources = given(options, *SOURCES).keys()
    if not (
        sources in ({"pairs"}, {"dataset"}, {"fixed_dir", "moving_dir"}, {"images"})
        or {"images", "atlas"} <= sources <= {"images", "atlas", "atlas_labels"}
    ):
        options.verb.error(
            "choose the pairs with one of --pairs; --dataset; --fixed-dir and --moving-dir; --images; or --images and "
            "--atlas (and --atlas-labels)"
        )
    show_log(QUIET)
    from ..engine.workflow import run_workflow

    pairs, labels = _pairs_and_labels(options, sources)
    chosen = given(options, "initial", "modality", "spacing", "formats", "device", "label_interpolation")
    chosen |= given(options, "refine", "similarity", "smoothness", "diffeomorphic")
    if options.model is not None:
        chosen["checkpoint"] = options.model
    run_workflow(
        "inference",
        "infer",
        pairs=tuple(pairs),
        output_dir=options.output,
        resume=options.resume,
        jobs=options.jobs,
        run_id="plan" if options.dry_run else "run",
        labels=labels or None,
        **chosen,
    )


def _pairs_and_labels(options: argparse.Namespace, sources: Set[str]) -> tuple[list[dict[str, str]], Any]:
    """Return the pairs given by the options, and the label values to score, or None for all."""
    from ..data import atlas_pairs, labels_to_score, list_pairs, pairs_by_name, study_pairs

    if sources <= {"pairs", "dataset"}:
        return list_pairs("", options.pairs or options.dataset), None
    if sources == {"fixed_dir", "moving_dir"}:
        return pairs_by_name(options.fixed_dir, options.moving_dir), None
    if sources == {"images"}:
        return study_pairs(options.images, "", "ordered", None), labels_to_score(options.images)
    return atlas_pairs(options.atlas, options.atlas_labels, options.images), None
