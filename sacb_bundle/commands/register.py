"""`sacb register`: register two scans."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .options import add_registration_options, file, show_log

RESULTS = (
    "It writes into OUTPUT, on the fixed image's grid: warped.nii.gz, transform.nii.gz (an ITK displacement field, LPS "
    "mm), initial.tfm, warped_labels.nii.gz, a picture and a record. With both label maps it prints their scores."
)
EXAMPLE = "sacb register --fixed f.nii.gz --moving m.nii.gz --moving-labels l.nii.gz --output out"


def add_options(verb: argparse.ArgumentParser) -> None:
    """Add the options of the verb.

    Args:
        verb: parser of the verb.
    """
    verb.add_argument("--fixed", type=file, required=True, help="fixed image (.nii, .nii.gz, .mha, .mhd, .nrrd, .nhdr)")
    verb.add_argument("--moving", type=file, required=True, help="moving image, which may be on another grid")
    verb.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    verb.add_argument("--fixed-labels", type=file, help="label map on the fixed image's grid, to score")
    verb.add_argument("--moving-labels", type=file, help="label map on the moving image's grid, to warp and score")
    verb.add_argument("--fixed-mask", type=file, help="mask, nonzero where the fixed image counts")
    verb.add_argument("--moving-mask", type=file, help="mask, nonzero where the moving image counts")
    add_registration_options(verb)


def run(options: argparse.Namespace) -> None:
    """Register the scans, write the results, and print the scores.

    Args:
        options: values of the options of `add_options`.

    Raises:
        InputError: if an image or an option is invalid, or a result cannot be written or would replace another file.
    """
    show_log()
    from ..files import real_path
    from ..quality import flags_of
    from ..registration.outputs import is_result
    from ..registration.pair import IMAGES
    from ..registration.register import Registrar
    from ..results.result_folder import ResultFolder, check_not_read

    images = {role: path for role in IMAGES if (path := getattr(options, role)) is not None}
    if ("fixed_labels" in images) != ("moving_labels" in images):
        print("no scores of label maps: they need both --fixed-labels and --moving-labels")
    ResultFolder(options.output, is_result).check()
    check_not_read({real_path(options.output)}, list(images.values()), is_result)
    start = time.perf_counter()
    registrar = Registrar(
        options.model,
        device=options.device,
        spacing=options.spacing,
        initial=options.initial,
        modality=options.modality,
        label_interpolation=options.label_interpolation,
        refine=options.refine,
        similarity=options.similarity,
        smoothness=options.smoothness,
        diffeomorphic=options.diffeomorphic,
    )
    result = registrar(**images)
    measures = result.measures()
    facts = {
        "inputs": {role: str(path.absolute()) for role, path in images.items()},
        "options": asdict(registrar.settings)
        | {"label_interpolation": registrar.label_interpolation, "refinement": asdict(registrar.refinement)}
        | {"diffeomorphic": registrar.diffeomorphic},
        "seconds": {"register": time.perf_counter() - start},
    }
    result.save(options.output, options.formats, measures=measures, facts=facts)
    _print_measures(measures)
    print(f"{'verdict':<22}{measures['verdict']:>22} (trust {measures['trust']:.2f})")
    for flag in flags_of(measures):
        print(f"review: {flag}")
    print(f"results written to {options.output}")


def _print_measures(measures: dict[str, Any]) -> None:
    """Print the agreement of the images, and of the label maps if there are any, before and after."""
    print(f"{'':<22}{'aligned':>10}{'registered':>12}")
    for name, score, unit in (
        ("similarity (NCC)", "similarity", ""), ("Dice", "dice", ""), ("HD95", "hd95", " mm"), ("ASSD", "assd", " mm")
    ):  # fmt: skip
        before, after = measures.get(f"{score}_before"), measures.get(f"{score}_after")
        if before is not None and after is not None:
            print(f"{name + unit:<22}{before:>10.3f}{after:>12.3f}")
    print(f"{'folding':<22}{measures['folding_percent']:>22.3f} % of the voxels")
    if measures.get("vanished"):
        print(f"labels that vanished: {', '.join(map(str, measures['vanished']))}")
