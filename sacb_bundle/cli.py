"""The console script `sacb`: each verb fills in a config of the bundle and runs it."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: of the command line; those of the process by default.

    Returns:
        0, or 1 if the work failed. Wrong arguments end the process with 2.
    """
    options = parser().parse_args(arguments)
    return run_config(options.config, options.fill_in(options), options.device)


def parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    top = argparse.ArgumentParser(
        prog="sacb", description="Register 3D medical images of any geometry, and use what comes out."
    )
    verbs = top.add_subparsers(metavar="VERB", required=True)
    add_register(verbs)
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
        "OUTPUT/initial.tfm and OUTPUT/warped_labels.nii.gz, on the fixed image's own grid.",
        "sacb register --fixed f.nii.gz --moving m.nii.gz --moving-labels l.nii.gz --output out",
    )
    verb.add_argument("--fixed", type=file, required=True, help=".nii, .nii.gz, .mha, .mhd, .nrrd or .nhdr")
    verb.add_argument("--moving", type=file, required=True, help="the same; its grid need not be that of fixed")
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument("--moving-labels", type=file, help="label map on the moving image's grid, warped along")
    verb.add_argument(
        "--initial",
        choices=("none", "center", "rigid", "affine"),
        default="affine",
        help="alignment before the network (default: affine; none for scans that are aligned)",
    )
    verb.add_argument("--fixed-mask", type=file, help="not 0 where the fixed image counts")
    verb.add_argument("--moving-mask", type=file, help="not 0 where the moving image counts")
    verb.add_argument(
        "--modality",
        choices=("auto", "ct", "mr"),
        default="auto",
        help="how intensities are scaled (default: auto, CT if a voxel of the working grid is below -500)",
    )
    verb.add_argument(
        "--spacing",
        type=float,
        default=2.0,
        metavar="MM",
        help="that the network works at (default: 2, as its weights)",
    )
    verb.add_argument(
        "--formats",
        nargs="+",
        choices=("learn2reg", "h5", "tfm"),
        default=[],
        help="also write the transform as disp_FIXED_MOVING.nii.gz, or as an ITK composite",
    )
    add_label_interpolation(verb)
    verb.add_argument(
        "--model", type=file, default=ROOT / "models" / "model.pt", help="weights (default: the bundle's)"
    )
    add_device(verb)
    verb.set_defaults(config="inference", fill_in=registration_options)


def registration_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `sacb register` fills in."""
    from .data import PairList

    output = options.output.resolve()
    files = {
        "fixed": options.fixed,
        "moving": options.moving,
        "seg_moving": options.moving_labels,
        "fixed_mask": options.fixed_mask,
        "moving_mask": options.moving_mask,
    }
    pair = {"id": output.name} | {key: str(path) for key, path in files.items() if path is not None}
    return {
        "pairs": PairList([pair], labels=None),
        "output_dir": output.parent,
        "checkpoint": options.model,
        "initial": options.initial,
        "modality": options.modality,
        "spacing": options.spacing,
        "formats": options.formats,
        "label_interpolation": options.label_interpolation,
        "handlers": [],  # no progress over one pair
    }


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


def add_verb(verbs: Any, name: str, summary: str, results: str, example: str) -> argparse.ArgumentParser:
    """A verb whose help says what it does and shows an example."""
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=summary,
        description=f"{summary} {results}",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return verb


def add_transform(verb: argparse.ArgumentParser, required: bool) -> None:
    """The option --transform."""
    verb.add_argument(
        "--transform",
        type=file,
        required=required,
        help="transform.nii.gz of a registration, or ITK's .h5, .tfm or .mat",
    )


def add_label_interpolation(verb: argparse.ArgumentParser) -> None:
    """The option --label-interpolation."""
    verb.add_argument(
        "--label-interpolation",
        choices=("nearest", "linear"),
        default="nearest",
        help="of label maps; linear: the label with the largest linear weight (default: nearest)",
    )


def add_device(verb: argparse.ArgumentParser) -> None:
    """The option --device."""
    verb.add_argument("--device", help="cpu, cuda or cuda:N (default: the first GPU if there is one)")


def file(text: str) -> Path:
    """A file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def run_config(name: str, options: dict[str, Any], device: str | None) -> int:
    """Run a config of the bundle as `python -m monai.bundle run` does; 1, and a line that says why, if that fails.

    Paths are `Path` objects among the options: in a text, MONAI would take "$" and "@" for an expression to run.
    """
    config = ROOT / "configs" / f"{name}.json"
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
        logging.getLogger(library).setLevel(logging.ERROR)
    workflow = ConfigWorkflow(
        str(config),
        workflow_type="infer",
        logging_file=False,
        **options,
        **({"device": device} if device else {}),
    )
    try:
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
