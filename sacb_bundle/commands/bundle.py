"""`sacb bundle`: print the folder of the bundle."""

from __future__ import annotations

import argparse

from ..files import bundle_root

RESULTS = ""
EXAMPLE = "python -m monai.bundle run training --config_file $(sacb bundle)/configs/train.json --dataset_dir DIR"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add no options.

    Args:
        verb: parser of the verb.
    """


def run(options: argparse.Namespace) -> None:
    """Print the folder.

    Args:
        options: values of the options, which are not used.
    """
    print(bundle_root())
