"""`sacb report`: remake the report of a study."""

from __future__ import annotations

import argparse

from .options import folder, show_log

RESULTS = "It writes cases.csv, labels.csv, summary.json and report.html into OUTPUT."
EXAMPLE = "sacb report study"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("output", type=folder, metavar="OUTPUT", help="folder of the results of sacb batch")


def run(options: argparse.Namespace) -> None:
    """Write the tables and the report.

    Args:
        options: values of the options of `add_options`.

    Raises:
        InputError: if the folder holds no study, or a file cannot be written.
    """
    show_log()
    from ..study.report import write_report

    write_report(options.output)
