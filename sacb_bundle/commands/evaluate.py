"""`sacb evaluate`: score a registration."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import add_overwrite, add_transform, file, show_log

RESULTS = ""
EXAMPLE = "sacb evaluate --fixed-labels f_labels.nii.gz --warped-labels out/warped_labels.nii.gz"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("--fixed-labels", type=file, help="label map of the fixed image")
    verb.add_argument("--warped-labels", type=file, help="moving label map, warped onto the grid of --fixed-labels")
    add_transform(verb, required=False)
    verb.add_argument("--output", type=Path, metavar="CSV", help="table to write, with the scores of each label")
    add_overwrite(verb)


def run(options: argparse.Namespace) -> None:
    """Score the registration.

    Args:
        options: values of the options of `add_options`.

    Raises:
        InputError: if a file is invalid, or there is nothing to score.
    """
    show_log()
    from .score_files import score_registration

    score_registration(
        options.fixed_labels, options.warped_labels, options.transform, options.output, options.overwrite
    )
