"""Measure what refinement gains: Dice, folding and seconds after given numbers of steps.

DATA holds the sets of scans named below, each with images/ and labels/. Pairs are aligned and prepared once; the label
maps are scored on the working grid. The seconds are those of the network and its refinement.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scan_pairs import Subject, mean_dice, pairs

from sacb_bundle import Registrar
from sacb_bundle.metrics import folding_percentage
from sacb_bundle.quality.measures import FOREGROUND
from sacb_bundle.registration.optimise import METHODS
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.registration.prepare import Prepared, Settings, prepare
from sacb_bundle.spatial import DisplacementField, Transform, Volume, read_label_map, resample

SETS = ("oasis_malf_2mm", "oasis_malf_1mm", "hippocampus_msd", "openkbp_hn_ct_3mm", "btcv_abdomen_ct")
# Spacing of the working grid, where it is not that of the training.
SPACING_MM = {"oasis_malf_1mm": 1.0}

# Predicts the displacement field (3, D, H, W), in voxels, of a prepared pair.
Method = Callable[[Prepared], torch.Tensor]


def add_options(parser: argparse.ArgumentParser, steps: Sequence[int]) -> None:
    """Add the options that the measurements of refinement share.

    Args:
        parser: parser of the command line.
        steps: default numbers of steps.
    """
    shown = " ".join(map(str, steps))
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of the sets")
    parser.add_argument("--steps", type=int, nargs="+", default=steps, help=f"numbers of steps (default: {shown})")
    parser.add_argument("--similarity", choices=("auto", *METHODS), default="auto", help="default: auto")
    parser.add_argument("--smoothness", type=float, metavar="W", help="default: that of the similarity")
    parser.add_argument("--model", metavar="WEIGHTS", help="weights, or the name of shipped ones, such as brain_t1")
    parser.add_argument("--device", help="default: the first GPU, or else the CPU")


def registrars(options: argparse.Namespace) -> dict[str, Registrar]:
    """Load the network for each number of steps.

    Args:
        options: values of the options of `add_options`.

    Returns:
        The registrars, by the heading of their column.
    """
    refinement = {"similarity": options.similarity, "smoothness": options.smoothness}
    return {
        f"{steps} steps": Registrar(options.model, device=options.device, refine=steps, **refinement if steps else {})
        for steps in options.steps
    }


def refined_field(registrar: Registrar, prepared: Prepared) -> torch.Tensor:
    """Predict and refine a displacement field.

    Args:
        registrar: registrar with the number of steps.
        prepared: prepared pair.

    Returns:
        The field (3, D, H, W) in voxels.
    """
    return registrar.refine(prepared, registrar.predict(prepared)).field


def prepared_pair(settings: Settings, fixed: Subject, moving: Subject, inverted: bool = False) -> Prepared:
    """Align and prepare a pair.

    Args:
        settings: settings of a registrar.
        fixed: fixed subject.
        moving: moving subject.
        inverted: whether to invert the moving image within its foreground.

    Returns:
        The pair on its working grid.
    """
    spacing = SPACING_MM.get(fixed.image.parent.parent.name, settings.spacing_mm)
    pair = as_pair({"fixed": fixed.image, "moving": moving.image})
    prepared = prepare(pair, replace(settings, spacing_mm=spacing))
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
    settings: Settings, found: Sequence[tuple[Subject, Subject]], methods: Sequence[Method], inverted: bool = False
) -> np.ndarray:
    """Measure a set of pairs.

    Args:
        settings: settings that prepare the pairs.
        found: pairs of a fixed and a moving subject.
        methods: methods to compare.
        inverted: whether to invert the moving images.

    Returns:
        Array (pairs, 1 + methods, 3) of Dice, folding in percent and seconds: of the alignment, then of each method.
    """
    rows = []
    for fixed, moving in found:
        prepared = prepared_pair(settings, fixed, moving, inverted)
        labels = labels_on_grid(prepared, fixed, moving)
        row = [(mean_dice(Transform(), *labels), 0.0, 0.0)]
        for method in methods:
            start = time.perf_counter()
            field = method(prepared).cpu()  # which waits for a GPU
            seconds = time.perf_counter() - start
            transform = Transform(displacement=DisplacementField.from_voxels(field, prepared.grid))
            row.append((mean_dice(transform, *labels), folding_percentage(field), seconds))
        rows.append(row)
    return np.array(rows)


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


def print_table(
    data: Path, number: int, settings: Settings, methods: Mapping[str, Method], inverted: bool = False
) -> None:
    """Print the table, with a row for each set that is there.

    Args:
        data: folder of the sets.
        number: largest number of pairs of each set.
        settings: settings that prepare the pairs.
        methods: methods to compare, by the heading of their column.
        inverted: whether to invert the moving images.
    """
    print("Dice / folding (%) / seconds\n")
    print(f"| data | before | {' | '.join(methods)} |")
    print("|---" * (len(methods) + 2) + "|")
    for name in SETS:
        found = [pair for pair in pairs(data, name, number) if all(subject.labels for subject in pair)]
        if found:
            print(row_of(name, measure(settings, found, list(methods.values()), inverted)), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table.

    Args:
        arguments: arguments of the command line; by default, those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, steps=(0, 10, 50))
    parser.add_argument("--pairs", type=int, default=10, metavar="N", help="pairs of each set (default: 10)")
    parser.add_argument("--inverted", action="store_true", help="invert the moving images within their foreground")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    found = registrars(options)
    methods = {name: partial(refined_field, registrar) for name, registrar in found.items()}
    print_table(options.data, options.pairs, next(iter(found.values())).settings, methods, options.inverted)


if __name__ == "__main__":
    main()
