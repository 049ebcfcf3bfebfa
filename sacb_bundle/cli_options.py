"""What the verbs of `sacb` have in common: their help, options, and kinds of values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "models" / "model.pt"


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
    verb.set_defaults(quiet=())
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


def add_workflow_options(verb: argparse.ArgumentParser) -> None:
    """The options of how pairs are registered, see `workflow_options`."""
    verb.add_argument(
        "--initial",
        choices=("none", "center", "rigid", "affine"),
        default="affine",
        help="alignment before the network (default: affine; none for scans that are aligned)",
    )
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
    verb.add_argument("--model", type=file, default=MODEL, help="weights (default: the bundle's)")
    add_device(verb)


def workflow_options(options: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_workflow_options` fill in."""
    names = ("initial", "modality", "spacing", "formats", "label_interpolation")
    return {"checkpoint": options.model} | {name: getattr(options, name) for name in names}


def add_device(verb: argparse.ArgumentParser) -> None:
    """The option --device."""
    verb.add_argument("--device", help="cpu, cuda or cuda:N (default: the first GPU if there is one)")


def file(text: str) -> Path:
    """A file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text}: no such file")
    return path


def folder(text: str) -> Path:
    """A folder that is there."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: no such folder")
    return path


def number(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: not a whole number from 0")
    return int(text)
