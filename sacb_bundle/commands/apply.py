"""`sacb apply`: warp files with a transform."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_label_interpolation, add_overwrite, add_transform, file, show_log

RESULTS = "Time series and images of several channels are warped volume by volume."
EXAMPLE = "sacb apply --transform out/transform.nii.gz --reference f.nii.gz --input a.nii.gz b.nii.gz --output warped"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    add_transform(verb, required=True)
    verb.add_argument(
        "--reference", type=file, required=True, help="image that defines the grid of the results: the fixed image"
    )
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    for option, text in (
        ("--input", "images"),
        ("--labels", "label maps"),
        ("--points", "CSV (x,y,z) or 3D Slicer's markups (.mrk.json)"),
    ):
        verb.add_argument(option, type=file, nargs="+", default=[], metavar="FILE", help=text)
    verb.add_argument(
        "--points-space", choices=("LPS", "RAS"), default="LPS", help="coordinates of a CSV (default: LPS, as in ITK)"
    )
    add_label_interpolation(verb)
    add_overwrite(verb)
    add_device(verb)


def run(options: argparse.Namespace) -> None:
    """Warp the files.

    Args:
        options: values of the options of `add_options`.

    Raises:
        InputError: if the device is not available, or as in `apply_transform`.
    """
    show_log()
    from ..checks import chosen_device
    from .apply_transform import apply_transform

    apply_transform(
        options.transform,
        options.reference,
        options.input,
        options.labels,
        options.points,
        options.output,
        options.label_interpolation,
        options.points_space,
        chosen_device(options.device),
        options.overwrite,
    )
