"""Register difficult inputs, built from real scans, and count the outcomes of each kind.

DATA holds the sets oasis_malf_2mm, hippocampus_msd, openkbp_hn_ct_3mm and btcv_abdomen_ct, with images/ and labels/.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from difficult_inputs import ABDOMENS, BRAINS, KINDS, SETS, Inputs, Kind, turned
from scan_pairs import in_processes, mean_dice, pairs, registrar, subjects

from sacb_bundle import InputError, Registration
from sacb_bundle.quality import flags_of
from sacb_bundle.registration.pair import as_pair
from sacb_bundle.registration.prepare import prepare
from sacb_bundle.spatial import align, read_label_map, read_transform, write_composite

# Largest loss of Dice, compared with the untouched pair.
TOLERANCE, TURN_TOLERANCE = 0.02, 0.01
OUTCOMES = ("correct", "refused", "flagged", "false alarm", "silent failure")
LISTED = ("false alarm", "silent failure")
NUM_AXES, NUM_TURNED_PAIRS = 20, 3


@dataclass(frozen=True)
class Task:
    """A case to build and register.

    Attributes:
        data: folder of the sets.
        name: folder of the set.
        number: number of the pair in the set.
        work: folder of the transforms of the untouched pairs.
        device: device, or None for the default.
        kind: name of the kind of difficult input; "" for the untouched pair.
    """

    data: Path
    name: str
    number: int
    work: Path
    device: str | None
    kind: str = ""

    @property
    def transform(self) -> Path:
        """File of the transform of the untouched pair."""
        return self.work / f"{self.name}_{self.number}.h5"


@dataclass(frozen=True)
class Answer:
    """Outcome of a case.

    Attributes:
        reference: mean Dice of the untouched pair.
        dice: mean Dice; NaN without labels in common.
        verdict: verdict of the program; "" if it refused the case.
        flags: flags of the result.
        error: message of the error.
        crashed: whether the error is not an `InputError`.
        evidence: measures of the program, as text.
    """

    reference: float = float("nan")
    dice: float = float("nan")
    verdict: str = ""
    flags: tuple[str, ...] = ()
    error: str = ""
    crashed: bool = False
    evidence: str = ""


def judge(kind: Kind, answer: Answer) -> str:
    """Judge the outcome of a case.

    Args:
        kind: kind of input.
        answer: answer of the program.

    Returns:
        One of `OUTCOMES`.
    """
    if answer.error:
        expected = kind.refusal or ("overlap" if kind.wrong else "")
        refused = bool(expected) and not answer.crashed and re.search(expected, answer.error) is not None
        return "refused" if refused else "silent failure"
    if kind.refusal:
        return "silent failure"
    if answer.verdict != "good":
        as_before = not kind.wrong and answer.dice >= answer.reference - TOLERANCE
        return "false alarm" if as_before else "flagged"
    if kind.wrong:
        return "silent failure"
    if answer.dice >= answer.reference - TOLERANCE:
        return "correct"
    return "flagged" if answer.flags else "silent failure"


def inputs_of(task: Task, rng: np.random.Generator) -> Inputs:
    """List the untouched files of a case.

    Args:
        task: case.
        rng: random generator that chooses the image of another part of the body.

    Returns:
        The files by role.
    """
    fixed, moving = pairs(task.data, task.name, task.number + 1)[task.number]
    others = subjects(task.data, str(rng.choice([name for name in SETS if name != task.name])))
    files = {"fixed": fixed.image, "moving": moving.image, "other": others[int(rng.integers(len(others)))].image}
    labels = {"fixed_labels": fixed.labels, "moving_labels": moving.labels}
    return files | {role: path for role, path in labels.items() if path is not None}


def dice_of(result: Registration, inputs: Inputs) -> float:
    """Score a registration by the label maps of its case."""
    return mean_dice(result.transform, *(read_label_map(inputs[f"{role}_labels"]) for role in ("fixed", "moving")))


def reference_of(task: Task) -> tuple[str, int, float]:
    """Register an untouched pair and keep its transform.

    Args:
        task: the pair.

    Returns:
        Set, number and mean Dice of the pair.
    """
    inputs = inputs_of(task, np.random.default_rng(0))
    result = registrar(task.device)(inputs["fixed"], inputs["moving"])
    write_composite(result.transform, task.transform)
    return task.name, task.number, dice_of(result, inputs)


def answer_of(task: Task, reference: float) -> Answer:
    """Build a case and register it.

    Args:
        task: case.
        reference: mean Dice of the untouched pair.

    Returns:
        The answer of the program.
    """
    kind = next(kind for kind in KINDS if kind.name == task.kind)
    rng = np.random.default_rng([zlib.crc32(kind.name.encode()), task.number, SETS.index(task.name)])
    with tempfile.TemporaryDirectory() as folder:
        inputs = kind.build(inputs_of(task, rng), Path(folder), rng)
        try:
            if "transform" in inputs:
                read_transform(inputs["transform"])
                return Answer(verdict="good")
            result = registrar(task.device)(inputs["fixed"], inputs["moving"], moving_mask=inputs.get("moving_mask"))
            measures = result.measures()
            dice = dice_of(result, inputs)
        except InputError as error:
            return Answer(reference, error=str(error).replace(folder, ""))
        except Exception:  # what users must never see
            return Answer(reference, error=traceback.format_exc(), crashed=True)
        if kind.cropped:
            labels = (read_label_map(inputs[f"{role}_labels"]) for role in ("fixed", "moving"))
            reference = mean_dice(read_transform(task.transform), *labels)
    names = ("trust", "mutual_information", "way_back_percent", "mirror_evidence", "alignment_scale")
    evidence = ", ".join(f"{name} {measures[name]:.3g}" for name in names)
    return Answer(reference, dice, measures["verdict"], tuple(flags_of(measures)), evidence=evidence)


def run_case(job: tuple[Task, float]) -> tuple[Task, Answer]:
    """Run a case in its own process.

    Args:
        job: case, and mean Dice of the untouched pair.

    Returns:
        The case and its outcome.
    """
    return job[0], answer_of(*job)


def run_kinds(options: argparse.Namespace, work: Path) -> str:
    """Run all cases.

    Args:
        options: options of the command line.
        work: folder of the transforms of the untouched pairs.

    Returns:
        The table, and a list of the cases to review.
    """
    kinds = [kind for kind in KINDS if not options.kinds or any(word in kind.name for word in options.kinds)]
    tasks = []
    for kind in kinds:
        for case in range(options.cases_per_kind):
            name = kind.sets[case % len(kind.sets)]
            tasks.append(Task(options.data, name, case // len(kind.sets), work, options.device, kind.name))
    tasks.sort(key=lambda task: -SETS.index(task.name))  # large images first
    untouched = {(task.name, task.number): Task(*list(vars(task).values())[:-1]) for task in tasks}
    found = in_processes(reference_of, list(untouched.values()), options.jobs)
    references = {(name, number): dice for name, number, dice in found}
    jobs = [(task, references[task.name, task.number]) for task in tasks]
    answers = []
    for task, answer in in_processes(run_case, jobs, options.jobs):
        kind = next(kind for kind in kinds if kind.name == task.kind)
        answers.append((kind, task, answer, judge(kind, answer)))
        if answers[-1][-1] in LISTED:
            print(line_of(*answers[-1]), flush=True)
    counts = {kind.name: Counter(row[3] for row in answers if row[0] is kind) for kind in kinds}
    lines = sorted(line_of(*row) for row in answers if row[3] in LISTED)
    return "\n".join([table_of(counts), "", *lines])


def table_of(counts: dict[str, Counter[str]]) -> str:
    """Make a Markdown table.

    Args:
        counts: number of cases by outcome, for each kind.

    Returns:
        The table, with a row for all kinds together.
    """
    rows = {**counts, "all": sum(counts.values(), Counter())}
    lines = [f"| kind | cases | {' | '.join(OUTCOMES)} |", f"|---|{'---|' * (1 + len(OUTCOMES))}"]
    for name, count in rows.items():
        cells = [str(count[outcome] or "") for outcome in OUTCOMES]
        lines.append(f"| {' | '.join([name, str(count.total()), *cells])} |")
    return "\n".join(lines)


def line_of(kind: Kind, task: Task, answer: Answer, outcome: str) -> str:
    """Describe a case in one line."""
    what = f"{answer.verdict}, {answer.evidence}" if not answer.error else answer.error.strip().splitlines()[-1]
    numbers = f"Dice {answer.dice:.3f}, untouched {answer.reference:.3f}"
    return f"- {outcome}: {kind.name}, {task.name} {task.number}: {numbers}; {what}"


@dataclass(frozen=True)
class Turn:
    """A start of the alignment: an untouched pair, or one whose moving header was rotated.

    Attributes:
        task: the pair.
        number: number of the start; -1 for the untouched pair.
        degrees: angle of the rotation.
    """

    task: Task
    number: int = -1
    degrees: float = 0.0


def run_turn(turn: Turn) -> tuple[Turn, float, str, float]:
    """Register from a start.

    Args:
        turn: the start.

    Returns:
        The start, mean Dice, verdict, and seconds of the alignment.
    """
    seconds = []

    def timed(*images: object) -> np.ndarray:
        before = time.perf_counter()
        matrix = align(*images)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - before)
        return matrix

    own = registrar(turn.task.device)
    with tempfile.TemporaryDirectory() as folder:
        inputs = inputs_of(turn.task, np.random.default_rng(0))
        if turn.number >= 0:
            rng = np.random.default_rng(turn.number % NUM_AXES)
            inputs = turned(inputs, Path(folder), rng, turn.degrees)
        pair = as_pair({role: inputs[role] for role in ("fixed", "moving")})
        prepared = prepare(pair, own.settings, timed)
        result = Registration(pair, prepared, own.predict(prepared))
        return turn, dice_of(result, inputs), result.measures()["verdict"], seconds[0]


def run_turns(options: argparse.Namespace, work: Path) -> str:
    """Run the alignment from many starts.

    Args:
        options: options of the command line.
        work: folder of the transforms of the untouched pairs.

    Returns:
        The table.
    """
    turns = []
    for name in (ABDOMENS, BRAINS):
        tasks = [Task(options.data, name, number, work, options.device) for number in range(NUM_TURNED_PAIRS)]
        angles = np.linspace(0, 180, options.turns)
        turns += [Turn(task) for task in tasks]
        turns += [Turn(tasks[i % len(tasks)], i, float(degrees)) for i, degrees in enumerate(angles)]
    found = {turn: tuple(rest) for turn, *rest in in_processes(run_turn, turns, options.jobs)}
    lines = ["| set | starts | as the untouched pair | others: flagged | others: silent | time of the alignment |"]
    lines.append("|---|---|---|---|---|---|")
    for name in (ABDOMENS, BRAINS):
        rows = [(found[turn], found[Turn(turn.task)]) for turn in turns if turn.number >= 0 and turn.task.name == name]
        lines.append(turns_row(name, rows))
    return "\n".join(lines)


def turns_row(name: str, rows: Sequence[tuple[tuple, tuple]]) -> str:
    """Make the row of a set.

    Args:
        name: name of the set.
        rows: for each start, its Dice, verdict and seconds, and those of the untouched pair.

    Returns:
        The row of the Markdown table.
    """
    verdicts = [own[1] for own, untouched in rows if own[0] < untouched[0] - TURN_TOLERANCE]
    flagged = sum(verdict != "good" for verdict in verdicts)
    ratio = median(own[2] / untouched[2] for own, untouched in rows)
    cells = [name, len(rows), len(rows) - len(verdicts), flagged, len(verdicts) - flagged, f"{ratio:.2f} times"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of the sets")
    parser.add_argument(
        "--cases-per-kind", type=int, default=4, help="cases of each kind (default: 4, one of each set)"
    )
    parser.add_argument(
        "--kinds", nargs="+", default=[], metavar="WORDS", help="only kinds whose name contains one of these words"
    )
    parser.add_argument(
        "--turns", type=int, default=0, help="align from this many starts in each of two sets, instead of the kinds"
    )
    parser.add_argument("--device", help="device (default: a GPU if there is one)")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--output", type=Path, help="file for the table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        text = (run_turns if options.turns else run_kinds)(options, Path(work))
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
