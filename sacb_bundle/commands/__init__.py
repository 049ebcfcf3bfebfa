"""The command line `sacb`, with a module for each verb, imported when the verb is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Any

from .. import __version__
from ..errors import InputError, reason_of
from ..files import file_hash, shipped_weights

VERBS = {
    "register": "Register two scans of any shape, spacing and orientation.",
    "batch": "Register many pairs, and report on them.",
    "report": "Remake the tables and the report of a study without registering.",
    "apply": "Warp images, label maps and points of the moving image onto the fixed image.",
    "invert": "Invert a transform, and measure the error of the inverse.",
    "evaluate": "Score a registration: Dice, HD95 and ASSD of label maps, folding of the transform.",
    "prepare": "Turn a data set as downloaded into a folder to train on.",
    "train": "Train a network on your scans.",
    "compare": "Compare methods on the test subjects of a data set.",
    "ablate": "Train and score variants of a network.",
    "bundle": "Print the folder of the bundle: configs/, models/, atlas/.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        arguments: arguments of the command line; by default, those of the process.

    Returns:
        0, 1 if the verb failed, or 130 if it was interrupted.

    Raises:
        SystemExit: with 2 for wrong arguments, 0 after --help or --version, 130 if a training is interrupted.
        Exception: if the verb fails for a reason other than an `InputError`.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser(given).parse_args(given)
    try:
        return int(options.run(options) or 0)
    except KeyboardInterrupt:
        print("Interrupted. The results so far are complete; sacb batch continues with --resume.", file=sys.stderr)
        return 130
    except Exception as error:
        reason = reason_of(error)
        if not isinstance(reason, InputError):
            raise
        print(f"error: {reason}", file=sys.stderr)
        return 1


def parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Make the parser of the command line, with the options of the verb that is called.

    Args:
        arguments: arguments of the command line; the first that does not begin with a hyphen names the verb.

    Returns:
        The parser. It knows every verb, but only the options of the one that is called, whose module is imported.
    """
    top = argparse.ArgumentParser(
        prog="sacb", description="Register 3D medical images of any geometry, and use the results."
    )
    top.add_argument("--version", action=Version, nargs=0, help="print the version, and the hash of the weights")
    verbs = top.add_subparsers(metavar="VERB", required=True)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, summary in VERBS.items():
        verb = verbs.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        if name == called:
            module = importlib.import_module(f".{name}", __package__)
            verb.description = f"{summary} {module.RESULTS}".strip()
            verb.epilog = f"example:\n  {module.EXAMPLE}"
            module.add_options(verb)
            verb.set_defaults(run=module.run)
    return top


class Version(argparse.Action):
    """Print the version of the program and the SHA-256 of the shipped weights."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        """Print the version, and end the process."""
        weights = shipped_weights()
        print(f"sacb {__version__}, weights {file_hash(weights) if weights.is_file() else 'missing'}")
        parser.exit()
