"""Convert a checkpoint of the published implementation to weights for this bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sacb_bundle.errors import InputError
from sacb_bundle.networks import load_published_checkpoint
from sacb_bundle.networks.checkpoint import write_whole


def main() -> None:
    """Convert the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path, help='published checkpoint: a dict with the key "state_dict"')
    parser.add_argument("output", type=Path, help="file to write, for example models/model.pt")
    arguments = parser.parse_args()
    try:
        state = load_published_checkpoint(arguments.published)
    except InputError as error:
        sys.exit(f"error: {error}")
    write_whole(state, arguments.output)
    print(f"{arguments.output}: {sum(value.numel() for value in state.values()):,} parameters")


if __name__ == "__main__":
    main()
