"""Compare with ANTs SyN, as antspyx runs it: Dice, folding and seconds.

Both start from the bundle's alignment, on its working grid. SyN maximises the cross-correlation of images of one
contrast, and the mutual information of others.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import torch
from benchmark_refinement import add_options, print_table, refined_field, registrars

from sacb_bundle.experiments import SyN
from sacb_bundle.registration.prepare import Prepared


def syn(prepared: Prepared) -> torch.Tensor:
    """Register a prepared pair with SyN.

    Args:
        prepared: prepared pair.

    Returns:
        The displacement field (3, D, H, W) in voxels.
    """
    return SyN()(torch.from_numpy(prepared.images)[None])[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table.

    Args:
        arguments: arguments of the command line; by default, those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, steps=(0, 50))
    parser.add_argument("--pairs", type=int, default=4, metavar="N", help="pairs of each set (default: 4)")
    parser.add_argument("--inverted", action="store_true", help="invert the moving images within their foreground")
    options = parser.parse_args(arguments)
    if find_spec("ants") is None:
        parser.error("antspyx is not installed; pip install antspyx")
    logging.disable(logging.WARNING)
    found = registrars(options)
    methods = {"ANTs SyN": syn} | {name: partial(refined_field, registrar) for name, registrar in found.items()}
    print_table(options.data, options.pairs, next(iter(found.values())).settings, methods, options.inverted)


if __name__ == "__main__":
    main()
