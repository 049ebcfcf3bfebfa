"""Convert a published checkpoint to weights for this bundle, and describe them in a JSON file beside them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from sacb_bundle.checks import check_spacing
from sacb_bundle.errors import InputError
from sacb_bundle.networks import WeightsInfo, describe, load_published_checkpoint, write_weights
from sacb_bundle.networks.checkpoint import network_like


def main() -> None:
    """Convert the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("published", type=Path, help='published checkpoint: a dict with the key "state_dict"')
    parser.add_argument("output", type=Path, help="file to write, for example models/model.pt")
    parser.add_argument("--spacing", type=float, required=True, metavar="MM", help="spacing of the training images")
    parser.add_argument("--modality", default="mr", help="rule that scaled their intensities: mr or ct (default: mr)")
    parser.add_argument("--trained-on", default="", metavar="TEXT", help="the training data, in words")
    arguments = parser.parse_args()
    try:
        check_spacing(arguments.spacing)
        state = load_published_checkpoint(arguments.published)
    except InputError as error:
        sys.exit(f"error: {error}")
    network = describe(network_like(state))
    info = WeightsInfo(network, arguments.spacing, arguments.modality, arguments.trained_on)
    write_weights(state, info, arguments.output)
    print(f"{arguments.output}: {sum(value.numel() for value in state.values()):,} parameters")


if __name__ == "__main__":
    main()
