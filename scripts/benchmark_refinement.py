"""Measure what refinement gains: Dice, folding and seconds after given numbers of steps.

DATA holds the sets of scans named below, each with images/ and labels/. Pairs are aligned and prepared once; the label
maps are scored on the working grid.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scan_pairs import Subject, mean_dice, pairs

from sacb_bundle import Registrar
from sacb_bundle.metrics import folding_percentage
from sacb_bundle.quality.measures import FOREGROUND
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.registration.prepare import Prepared, prepare
from sacb_bundle.registration.refine import METHODS, Refinement, Refiner
from sacb_bundle.spatial import DisplacementField, Transform, Volume, read_label_map, resample

SETS = ("oasis_malf_2mm", "oasis_malf_1mm", "hippocampus_msd", "openkbp_hn_ct_3mm", "btcv_abdomen_ct")
# Spacing of the working grid, where it is not that of the training.
SPACING_MM = {"oasis_malf_1mm": 1.0}


def prepared_pair(registrar: Registrar, fixed: Subject, moving: Subject, inverted: bool) -> Prepared:
    """Align and prepare a pair.

    Args:
        registrar: registrar whose settings apply.
        fixed: fixed subject.
        moving: moving subject.
        inverted: whether to invert the moving image within its foreground.

    Returns:
        The pair on its working grid.
    """
    spacing = SPACING_MM.get(fixed.image.parent.parent.name, registrar.settings.spacing_mm)
    settings = replace(registrar.settings, spacing_mm=spacing)
    prepared = prepare(as_pair({"fixed": fixed.image, "moving": moving.image}), settings)
    if not inverted:
        return prepared
    image, other = prepared.images
    return replace(prepared, images=np.stack([np.where(image > FOREGROUND, 1 - image, image), other]))


def labels_on_grid(prepared: Prepared, fixed: Subject, moving: Subject) -> list[Volume]:
    """Return the fixed and the aligned moving label map on the working grid.

    Args:
        prepared: prepared pair.
        fixed: fixed subject, with labels.
        moving: moving subject, with labels.

    Returns:
        The label maps.
    """
    found = []
    for subject, transform in ((fixed, Transform()), (moving, Transform(prepared.initial))):
        if subject.labels is not None:
            found += resample(transform, prepared.grid, labels=[read_label_map(subject.labels)]).labels
    return found


def measure(
    registrar: Registrar, found: Sequence[tuple[Subject, Subject]], refiners: Sequence[Refiner], inverted: bool
) -> np.ndarray:
    """Measure a set of pairs.

    Args:
        registrar: registrar that predicts the fields.
        found: pairs of a fixed and a moving subject.
        refiners: refiners to compare.
        inverted: whether to invert the moving images.

    Returns:
        Array (pairs, 1 + refiners, 3) of Dice, folding in percent and seconds: of the alignment, then of each refiner.
    """
    rows = []
    for fixed, moving in found:
        prepared = prepared_pair(registrar, fixed, moving, inverted)
        labels = labels_on_grid(prepared, fixed, moving)
        images = torch.from_numpy(prepared.images)[None].to(registrar.device)
        row = [(mean_dice(Transform(), *labels), 0.0, 0.0)]
        own = registrar.predict(prepared)
        for refiner in refiners:
            _wait(registrar.device)
            start = time.perf_counter()
            field = refiner(images, own).field
            _wait(registrar.device)
            seconds = time.perf_counter() - start
            transform = Transform(displacement=DisplacementField.from_voxels(field, prepared.grid))
            row.append((mean_dice(transform, *labels), folding_percentage(field), seconds))
        rows.append(row)
    return np.array(rows)


def _wait(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def row_of(name: str, measured: np.ndarray) -> str:
    """Format the row of a set.

    Args:
        name: name of the set.
        measured: what `measure` returns.

    Returns:
        Row of a Markdown table: means of Dice and folding; the median of the seconds, without those of the first pair,
        which loads and captures the kernels.
    """
    dice, folding, _ = np.nanmean(measured, axis=0).T
    seconds = np.median(measured[min(1, len(measured) - 1) :, :, 2], axis=0)
    cells = [f"{d:.3f} / {f:.3f} / {s:.2f} s" for d, f, s in zip(dice[1:], folding[1:], seconds[1:], strict=True)]
    return f"| {name}, {len(measured)} pairs | {dice[0]:.3f} | {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table.

    Args:
        arguments: arguments of the command line; by default, those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the sets")
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="pairs of each set (default: 10)")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10, 50], help="numbers of steps (default: 0 10 50)")
    parser.add_argument("--similarity", choices=("auto", *METHODS), default="auto", help="default: auto")
    parser.add_argument("--smoothness", type=float, metavar="W", help="default: that of the similarity")
    parser.add_argument("--inverted", action="store_true", help="invert the moving images within their foreground")
    parser.add_argument("--device", help="default: the first GPU, or else the CPU")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    registrar = Registrar(device=options.device)
    refiners = [
        Refiner(registrar.network, Refinement(steps, options.similarity, options.smoothness)) for steps in options.steps
    ]
    print("Dice / folding (%) / seconds\n")
    print("| data | before | " + " | ".join(f"{steps} steps" for steps in options.steps) + " |")
    print("|---" * (len(refiners) + 2) + "|")
    for name in SETS:
        found = [pair for pair in pairs(options.data, name, options.pairs) if all(subject.labels for subject in pair)]
        if found:
            print(row_of(name, measure(registrar, found, refiners, options.inverted)), flush=True)


if __name__ == "__main__":
    main()
