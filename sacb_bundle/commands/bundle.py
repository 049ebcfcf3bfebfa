"""`sacb bundle`: print the folder of the bundle."""

from __future__ import annotations

import argparse

from ..files import bundle_root

RESULTS = ""
EXAMPLE = "python -m monai.bundle run training --config_file $(sacb bundle)/configs/train.json --dataset_dir DIR"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(options: argparse.Namespace) -> None:
    """Print the folder."""
    print(bundle_root())
