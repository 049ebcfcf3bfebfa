"""`sacb invert`: invert a transform."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_device, add_overwrite, add_transform, file, show_log

RESULTS = "It prints the error, and writes a map of it in mm beside the inverse (NAME_error.nii.gz)."
EXAMPLE = "sacb invert --transform out/transform.nii.gz --reference m.nii.gz --output inverse.nii.gz"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    add_transform(verb, required=True)
    verb.add_argument("--output", type=Path, required=True, metavar="FILE", help="path of the inverse, .nii.gz")
    verb.add_argument(
        "--reference",
        type=file,
        help="image that defines the grid of the inverse: the moving image (default: the transform's grid)",
    )
    add_overwrite(verb)
    add_device(verb)


def run(options: argparse.Namespace) -> None:
    """Invert the transform.

    Args:
        options: values of the options of `add_options`.

    Raises:
        InputError: if the device is not available, or as in `invert_transform`.
    """
    show_log()
    from ..checks import chosen_device
    from .invert_transform import invert_transform

    device = chosen_device(options.device)
    invert_transform(options.transform, options.output, options.reference, device, options.overwrite)
