"""Count how often trust is wrong: right registrations that are not called good, and wrong ones that are.

DATA holds the sets of scans named below, each with images/ and, except for whole heads, labels/. Pairs of one set are
right. Wrong pairs have a header rotated by at least 40 degrees and no search for the rotation, are mirrored, have
shuffled blocks, or show different parts of the body.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from difficult_inputs import Inputs, mirrored, turned, values_of
from scan_pairs import Subject, in_processes, mean_dice, pairs, registrar, subjects

from sacb_bundle import InputError
from sacb_bundle.spatial import read_label_map

HEADS = "ms_wholehead_t1_t2_flair"
SETS = (
    "btcv_abdomen_ct", "chaos_abdomen_mr_t2", "openkbp_hn_ct_3mm", "acdc_cardiac_cine", "mouse_brain_fvb_invivo",
    "oasis_malf_2mm", "hippocampus_msd", HEADS,
)  # fmt: skip
# Sets that show one part of the body.
ALIKE = {"btcv_abdomen_ct", "chaos_abdomen_mr_t2"}
# Scans whose header is mirrored as they come, so that pairs with them are not right.
MIRRORED = {"btcv_04.nii.gz"}
LEAST_TURN_DEGREES = 40.0
BLOCK_VOXELS = (6, 12)
# There is one wrong pair of each kind and set for this many right ones.
WRONG_SHARE = 3
VERDICTS = ("good", "doubtful", "failed", "refused")


@dataclass(frozen=True)
class Trial:
    """A pair to register.

    Attributes:
        kind: kind of pair; it starts with "right" or "wrong".
        fixed: fixed subject.
        moving: moving subject.
        number: number of the pair, which seeds the random numbers.
        device: device, or None for the default.
    """

    kind: str
    fixed: Subject
    moving: Subject
    number: int
    device: str | None


def trials(data: Path, sets: Sequence[str], number: int, device: str | None) -> list[Trial]:
    """List the pairs.

    Args:
        data: folder of the sets.
        sets: names of the sets, those that take longest first.
        number: largest number of right pairs of each set.
        device: device, or None for the default.

    Returns:
        The pairs.
    """
    fewer = max(1, number // WRONG_SHARE)
    labelled = [name for name in sets if name != HEADS]
    listed: list[tuple[str, Subject, Subject]] = []
    for name in labelled:
        right = [pair for pair in pairs(data, name, number) if not MIRRORED & {subject.image.name for subject in pair}]
        listed += [(f"right: {name}", *pair) for pair in right]
        for kind in ("turned", "mirrored", "shuffled"):
            listed += [(f"wrong: {kind}", *pair) for pair in right[:fewer]]
    for first, second in itertools.permutations(labelled, 2):
        if {first, second} != ALIKE:
            listed.append(("wrong: another part", subjects(data, first)[0], subjects(data, second)[0]))
    if HEADS in sets:
        heads = itertools.permutations(subjects(data, HEADS), 2)
        same = [pair for pair in heads if pair[0].image.name[:9] == pair[1].image.name[:9]]
        listed += [(f"right: {HEADS}, one person", *pair) for pair in same[:number]]
    return [Trial(*pair, i, device) for i, pair in enumerate(listed)]


def shuffled(inputs: Inputs, folder: Path, rng: np.random.Generator) -> Inputs:
    """Shuffle the blocks of the moving image.

    Args:
        inputs: files by role.
        folder: folder of the changed file.
        rng: random numbers.

    Returns:
        The files by role.
    """
    image = nib.Nifti1Image.from_filename(inputs["moving"])
    values = values_of(image).copy()
    side = min(int(rng.choice(BLOCK_VOXELS)), min(values.shape) // 2)
    starts = list(itertools.product(*(range(0, size - side + 1, side) for size in values.shape)))
    blocks = [values[x : x + side, y : y + side, z : z + side].copy() for x, y, z in starts]
    for (x, y, z), block in zip(starts, rng.permutation(len(blocks)), strict=True):
        values[x : x + side, y : y + side, z : z + side] = blocks[block]
    nib.save(nib.Nifti1Image(values, image.affine), folder / "moving.nii.gz")
    return {**inputs, "moving": folder / "moving.nii.gz"}


def run_trial(trial: Trial) -> tuple[Trial, str, str]:
    """Register a pair.

    Args:
        trial: the pair.

    Returns:
        The pair, one of `VERDICTS`, and the measures, as text.
    """
    rng = np.random.default_rng(trial.number)
    inputs: Inputs = {"fixed": trial.fixed.image, "moving": trial.moving.image}
    initial = "affine"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if trial.kind == "wrong: turned":
            initial = "center"
            inputs = turned(inputs, folder, rng, float(rng.uniform(LEAST_TURN_DEGREES, 180)))
        elif trial.kind == "wrong: mirrored":
            inputs = mirrored(inputs, folder, rng)
        elif trial.kind == "wrong: shuffled":
            inputs = shuffled(inputs, folder, rng)
        try:
            result = registrar(trial.device, initial)(inputs["fixed"], inputs["moving"])
        except InputError as error:
            return trial, "refused", str(error)
        measures = result.measures()
    dice = float("nan")
    if trial.kind.startswith("right") and trial.fixed.labels and trial.moving.labels:
        dice = mean_dice(result.transform, *map(read_label_map, (trial.fixed.labels, trial.moving.labels)))
    names = ("trust", "mutual_information", "way_back_percent", "mirror_evidence", "alignment_scale")
    evidence = ", ".join(f"{name} {measures[name]:.3g}" for name in names)
    return trial, str(measures["verdict"]), f"Dice {dice:.3f}, {evidence}"


def is_mistake(kind: str, verdict: str) -> bool:
    """Tell whether a verdict is a false alarm or a miss.

    Args:
        kind: kind of pair.
        verdict: one of `VERDICTS`.

    Returns:
        True if it is one of these.
    """
    return kind.startswith("right") != (verdict == "good")


def table_of(answers: list[tuple[str, str]]) -> str:
    """Make a Markdown table.

    Args:
        answers: kind and verdict of each pair.

    Returns:
        The table, with rows for all right and all wrong pairs.
    """
    groups = {kind: [kind] for kind in sorted({kind for kind, _ in answers})}
    groups |= {f"all {truth}": [kind for kind in groups if kind.startswith(truth)] for truth in ("right", "wrong")}
    lines = [f"| pairs | number | {' | '.join(VERDICTS)} | mistakes |", f"|---|{'---|' * (2 + len(VERDICTS))}"]
    for name, kinds in groups.items():
        own = [(kind, verdict) for kind, verdict in answers if kind in kinds]
        if own:
            count = Counter(verdict for _, verdict in own)
            share = sum(is_mistake(*answer) for answer in own) / len(own)
            cells = [name, len(own), *(count[verdict] or "" for verdict in VERDICTS), f"{share:.1%}"]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the sets")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS, metavar="NAME", help="sets (default: all)")
    parser.add_argument(
        "--pairs", type=int, default=24, help="right pairs of each set; a third as many wrong (default: 24)"
    )
    parser.add_argument("--device", help="device (default: a GPU if there is one)")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    answers, mistakes = [], []
    listed = trials(options.data, options.sets, options.pairs, options.device)
    for trial, verdict, evidence in in_processes(run_trial, listed, options.jobs):
        answers.append((trial.kind, verdict))
        if is_mistake(trial.kind, verdict):
            names = " onto ".join(subject.image.name for subject in (trial.moving, trial.fixed))
            mistakes.append(f"- {trial.kind}, {names}: {verdict}, {evidence}")
            print(mistakes[-1], flush=True)
    text = "\n".join([table_of(answers), "", *sorted(mistakes)])
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
