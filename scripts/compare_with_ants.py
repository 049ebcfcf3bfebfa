"""Compare with ANTs SyN, as antspyx runs it: Dice, folding and seconds.

Both start from the bundle's alignment, on its working grid. SyN maximises the cross-correlation of images of one
contrast, and the mutual information of others.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec

import torch
from benchmark_refinement import add_options, print_table, refined_field, registrars

from sacb_bundle.quality import have_one_contrast
from sacb_bundle.registration.prepare import Prepared

# Name, and radius in voxels or number of bins.
CROSS_CORRELATION, MUTUAL_INFORMATION = ("CC", 2), ("mattes", 32)
# At an eighth, a quarter, half and all of the resolution.
ITERATIONS = (100, 70, 50, 20)


def syn(prepared: Prepared) -> torch.Tensor:
    """Register a prepared pair with SyN.

    Args:
        prepared: prepared pair.

    Returns:
        The displacement field (3, D, H, W) in voxels.
    """
    import ants

    moving, fixed = (ants.from_numpy(image, spacing=prepared.grid.spacing) for image in prepared.images)
    one_contrast = have_one_contrast(*torch.from_numpy(prepared.images).split(1))
    metric, sampling = CROSS_CORRELATION if one_contrast else MUTUAL_INFORMATION
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed,
            moving,
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            outprefix=f"{folder}/",
            syn_metric=metric,
            syn_sampling=sampling,
            reg_iterations=ITERATIONS,
        )
        field = ants.image_read(found["fwdtransforms"][0]).numpy()  # (D, H, W, 3), in mm along the axes
    return (torch.from_numpy(field) / torch.tensor(prepared.grid.spacing)).movedim(-1, 0)


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
