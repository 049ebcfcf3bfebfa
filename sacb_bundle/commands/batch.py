"""`sacb batch`: register many pairs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import add_registration_options, file, folder, number, show_log

RESULTS = (
    "OUTPUT holds cases.csv, labels.csv, summary.json, report.html, and a folder for each pair with what "
    "`sacb register` writes. A pair that fails does not stop the others."
)
EXAMPLE = (
    "sacb batch --pairs pairs.csv --output study\n"
    "  sacb batch --atlas atlas.nii.gz --atlas-labels labels.nii.gz --images scans --output study --resume"
)
SOURCES = ("pairs", "dataset", "fixed_dir", "moving_dir", "images", "atlas", "atlas_labels")
QUIET = ("transforms", "registration", "study.cases")  # their lines about each case; failures are told


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    pairs = verb.add_argument_group("pairs", "give one of these")
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
    pairs.add_argument("--atlas-labels", type=file, help="label map of the atlas, warped onto each scan")
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
    add_registration_options(verb)
    verb.set_defaults(verb=verb)


def run(options: argparse.Namespace) -> None:
    """Register the pairs."""
    given = {key for key in SOURCES if getattr(options, key)}
    if not (
        given in ({"pairs"}, {"dataset"}, {"fixed_dir", "moving_dir"}, {"images"})
        or {"images", "atlas"} <= given <= {"images", "atlas", "atlas_labels"}
    ):
        options.verb.error(
            "which pairs? Give --pairs, or --dataset, or --fixed-dir and --moving-dir, or --images, or --images and "
            "--atlas (and --atlas-labels)"
        )
    show_log(QUIET)
    from .workflow import run_workflow

    pairs, labels = pairs_and_labels(options, given)
    run_workflow(
        "inference",
        "infer",
        pairs=tuple(pairs),
        output_dir=options.output,
        resume=options.resume,
        jobs=options.jobs,
        run_id="plan" if options.dry_run else "run",
        checkpoint=options.model,
        **{name: getattr(options, name) for name in ("initial", "modality", "spacing", "formats", "device")},
        label_interpolation=options.label_interpolation,
        **({"labels": labels} if labels else {"labels": "$None"}),
    )


def pairs_and_labels(options: argparse.Namespace, given: set[str]) -> tuple[list[dict[str, str]], Any]:
    """Return the pairs that the options name, and the label values to score, or None for all."""
    from ..data import atlas_pairs, labels_to_score, list_pairs, pairs_by_name, study_pairs

    if given <= {"pairs", "dataset"}:
        return list_pairs("", options.pairs or options.dataset), None
    if given == {"fixed_dir", "moving_dir"}:
        return pairs_by_name(options.fixed_dir, options.moving_dir), None
    if given == {"images"}:
        return study_pairs(options.images, "", "ordered", None), labels_to_score(options.images)
    return atlas_pairs(options.atlas, options.atlas_labels, options.images), None
