"""Measure what refinement gains where the true transform is known.

landmarks    mean distance (mm) of landmarks in MR of a liver (ethliver_4dmri_landmarks), exhalation to other states
deformation  mean error (mm) in a head whose contrasts (ms_wholehead_t1_t2_flair) are registered to each other, after a
             smooth random deformation of at most 8 mm of the aligned moving image
affine       Dice of the same contrasts, after the moving image's header was turned, scaled and shifted; the labels are
             four ranges of that image's intensities, in both images, as the set has no labels

DATA holds the sets. The score of a field has a * if the field brings the images no closer, so that `sacb register`
would leave it out. Beside it is the folding (%).
"""

from __future__ import annotations

import argparse
import csv
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from benchmark_refinement import add_options, refined_field, registrars
from scan_pairs import Subject, mean_dice, subjects
from scipy.ndimage import gaussian_filter

from sacb_bundle import Registrar
from sacb_bundle.metrics import folding_percentage
from sacb_bundle.ops import warp
from sacb_bundle.quality.measures import FOREGROUND
from sacb_bundle.registration.pair import Pair, as_pair
from sacb_bundle.registration.prepare import Prepared, Settings, prepare
from sacb_bundle.registration.result import Registration
from sacb_bundle.spatial import DisplacementField, Grid, Transform, Volume, read_grid, read_image, resample

LIVERS, HEADS = "ethliver_4dmri_landmarks", "ms_wholehead_t1_t2_flair"
LARGEST_DISPLACEMENT_MM = 8.0
# Control points of the deformation along each axis.
CONTROL_POINTS = (4, 5, 4)
# Motion of a head.
TURN_DEGREES, SCALE, SHIFT_MM = 8.0, 1.03, (10.0, -6.0, 4.0)
# Smoothing of an image before ranges of its intensities become labels.
SMOOTHING_MM = 1.5

# Scores a transform from fixed to moving world coordinates.
Score = Callable[[Transform], float]


@dataclass(frozen=True, eq=False)
class Trial:
    """A pair whose true transform is known.

    Attributes:
        pair: the pair.
        prepared: the pair on its working grid.
        score: score of a transform.
    """

    pair: Pair
    prepared: Prepared
    score: Score


def pairs_of_one_person(data: Path, name: str) -> list[tuple[Subject, Subject]]:
    """List the ordered pairs of images of the same person.

    Args:
        data: folder of the sets.
        name: folder of the set; names of files begin with that of the person and an underscore.

    Returns:
        Pairs of a fixed and a moving image.
    """
    found = itertools.permutations(subjects(data, name), 2)
    return [pair for pair in found if len({subject.image.name.split("_")[0] for subject in pair}) == 1]


def landmarks(fixed: Subject, moving: Subject, settings: Settings) -> Trial:
    """Make a trial of the landmarks of a pair, those of the fixed image before those of the moving one.

    Args:
        fixed: fixed subject.
        moving: moving subject.
        settings: settings that prepare the pair.

    Returns:
        The trial, scored by the mean distance in mm.
    """
    starts, ends = (_landmarks_of(subject) for subject in (fixed, moving))

    def score(transform: Transform) -> float:
        return float(np.linalg.norm(transform.map_points(starts) - ends, axis=1).mean())

    pair = as_pair({"fixed": fixed.image, "moving": moving.image})
    return Trial(pair, prepare(pair, settings), score)


def _landmarks_of(subject: Subject) -> np.ndarray:
    """Return the landmarks of an image (N, 3), in mm, RAS."""
    table = subject.image.parent.parent / "landmarks" / subject.image.name.replace(".nii.gz", ".csv")
    with open(table, newline="") as rows:
        voxels = [[float(row[f"vox_{axis}"]) for axis in "xyz"] for row in csv.DictReader(rows)]
    return read_grid(subject.image).to_world(np.array(voxels))


def deformation(fixed: Subject, moving: Subject, settings: Settings) -> Trial:
    """Make a trial of a random deformation of the aligned moving image.

    Args:
        fixed: fixed subject.
        moving: moving subject.
        settings: settings that prepare the pair.

    Returns:
        The trial, scored by the mean distance, in mm, of points of the fixed foreground from where they belong.
    """
    pair = as_pair({"fixed": fixed.image, "moving": moving.image})
    prepared = prepare(pair, settings)
    grid = prepared.grid
    noise = torch.randn(1, 3, *CONTROL_POINTS, generator=torch.Generator().manual_seed(1))
    field = F.interpolate(noise, size=grid.shape, mode="trilinear", align_corners=True)
    field *= LARGEST_DISPLACEMENT_MM / grid.spacing[0] / field.norm(dim=1).max()
    images = torch.from_numpy(prepared.images)
    deformed = torch.cat([warp(images[None, :1], field)[0], images[1:]]).numpy()
    applied = Transform(displacement=DisplacementField.from_voxels(field[0], grid))
    unaligned = Transform(np.linalg.inv(prepared.initial))
    points = grid.to_world(np.argwhere(prepared.images[1] > FOREGROUND))

    def score(transform: Transform) -> float:
        arrived = applied.map_points(unaligned.map_points(transform.map_points(points)))
        return float(np.linalg.norm(arrived - points, axis=1).mean())

    return Trial(pair, replace(prepared, images=deformed), score)


def affine(fixed: Subject, moving: Subject, settings: Settings) -> Trial:
    """Make a trial of a moved header.

    Args:
        fixed: fixed subject.
        moving: moving subject, whose header agrees with that of the fixed one.
        settings: settings that prepare the pair.

    Returns:
        The trial, scored by Dice.
    """
    image = read_image(moving.image)
    labels = ranges_of(image)
    expected = resample(Transform(), read_grid(fixed.image), labels=[labels]).labels[0]
    angle = np.radians(TURN_DEGREES)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[:3, :3] *= SCALE
    motion[:3, 3] = SHIFT_MM
    moved = Grid(image.grid.shape, motion @ image.grid.affine)
    pair = as_pair({"fixed": fixed.image, "moving": Volume(image.values, moved)})
    return Trial(pair, prepare(pair, settings), partial(mean_dice, fixed=expected, moving=Volume(labels.values, moved)))


def ranges_of(image: Volume) -> Volume:
    """Divide an image into four ranges of intensity, each with a quarter of the foreground.

    Args:
        image: image.

    Returns:
        The label map: 0 for the background, and 1 to 4.
    """
    smooth = gaussian_filter(image.values.astype(np.float32), SMOOTHING_MM / np.array(image.grid.spacing))
    least = FOREGROUND * np.percentile(smooth, 99.9)
    limits = [least, *np.quantile(smooth[smooth > least], (0.25, 0.5, 0.75))]
    return Volume(np.digitize(smooth, limits).astype(np.uint8), image.grid)


def scores(trial: Trial, found: Sequence[Registrar]) -> np.ndarray:
    """Score a trial before the alignment, after it, and after each registrar.

    Args:
        trial: trial.
        found: registrars to compare.

    Returns:
        Array (2 + registrars, 3): score, folding in percent, and whether the field would be left out.
    """
    prepared = trial.prepared
    rows = [(trial.score(transform), np.nan, 0.0) for transform in (Transform(), Transform(prepared.initial))]
    for registrar in found:
        field = refined_field(registrar, prepared).cpu()
        transform = Transform(prepared.initial, DisplacementField.from_voxels(field, prepared.grid))
        left_out = Registration(trial.pair, prepared, field).alignment_alone
        rows.append((trial.score(transform), folding_percentage(field), left_out))
    return np.array(rows)


def row_of(name: str, values: np.ndarray) -> str:
    """Format a row of the table.

    Args:
        name: name of the row.
        values: what `scores` returns.

    Returns:
        Row of a Markdown table.
    """
    cells = [
        f"{score:.3f}" + "*" * bool(left_out) + ("" if np.isnan(folding) else f" / {folding:.3f}")
        for score, folding, left_out in values
    ]
    return f"| {name} | {' | '.join(cells)} |"


TRIALS = {"landmarks": (LIVERS, landmarks), "deformation": (HEADS, deformation), "affine": (HEADS, affine)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table.

    Args:
        arguments: arguments of the command line; by default, those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trial", choices=TRIALS, help="what to measure, see above")
    add_options(parser, steps=(0, 50, 100))
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    found = registrars(options)
    settings = next(iter(found.values())).settings
    name, make = TRIALS[options.trial]
    print(f"| moving onto fixed | before | alignment | {' | '.join(found)} |")
    print("|---" * (len(found) + 3) + "|")
    measured = []
    for fixed, moving in pairs_of_one_person(options.data, name):
        if make is not landmarks or "_exh" in fixed.image.name:
            measured.append(scores(make(fixed, moving, settings), list(found.values())))
            names = [subject.image.name.removesuffix(".nii.gz") for subject in (moving, fixed)]
            print(row_of(" onto ".join(names), measured[-1]), flush=True)
    if measured:
        print(row_of("mean", np.mean(measured, axis=0) * (1, 1, 0)))


if __name__ == "__main__":
    main()
