"""Ablate a training: change one key at a time, train and score."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine.scores import LEFT_OUT
from ..engine.training_cost import PEAK_MEGABYTES, STEP_SECONDS
from ..engine.workflow import make_workflow
from ..errors import InputError
from ..files import check_results, make_folder, read_or_empty
from ..metrics import mean_and_std
from ..results.result_folder import lock
from ..study.part import Part
from .folder import LOCK, WAIT_S, claim_folder
from .runs import COST, RECORD, SCORES, TRAINING, Runs, summary_of, warn_of_pairs
from .tables import SCORE_COLUMNS, Column, Row, write_tables
from .variants import Variant, check_variants, folder_name, variants_of

NAME = "ablation"
COLUMNS = (
    Column("rows", "rows"),
    Column("key", "key"),
    Column("value", "value"),
    *SCORE_COLUMNS,
    Column("step (s)", "step_seconds", 3),
    Column("memory of a step (MB)", "peak_megabytes", 0),
    Column("seeds", "seeds", 0),
    Column("pairs", "pairs", 0),
)
logger = logging.getLogger(__name__)


class Ablation:
    """Train and score variants of a network, each with several seeds, and write a table.

    Each training has a folder; finished ones are kept, and others continue. Under torchrun, each process does its share
    of the trainings. After each of them, it writes the tables of all that are finished, so that the last one completes
    them.

    Args:
        runs: trainings and evaluations on the data set.
        rows: names of the paper's tables, see `sacb_bundle.experiments.variants.TABLES`.
        vary: lists of a key of train.json and its values.
        seeds: seeds of the trainings.

    Raises:
        InputError: as in `variants_of`, or if seeds are not different whole numbers of at least 0.
    """

    def __init__(self, runs: Runs, rows: Sequence[str], vary: Sequence[Sequence[Any]], seeds: Sequence[int]) -> None:
        self.runs = runs
        self.variants = variants_of(rows, vary)
        if (
            not isinstance(seeds, (list, tuple))
            or not seeds
            or not all(type(seed) is int and seed >= 0 for seed in seeds)
        ):
            raise InputError(f"seeds is {seeds!r}; it must be a list of whole numbers of at least 0, such as [0, 1].")
        if len(set(seeds)) < len(seeds):
            raise InputError(f"seeds is {seeds!r}; a seed is there twice.")
        self.seeds = seeds

    def run(self) -> list[Row]:
        """Train and score the variants that are not finished.

        Returns:
            The rows of the table that are finished, see `COLUMNS`.

        Raises:
            InputError: if the output folder holds other results, or a key, a value or the data are invalid.
        """
        folder = self.runs.output_dir
        names = self.folders()
        check_results([folder / f"{NAME}{ending}" for ending in (".csv", ".md")], [])
        self.runs.check_held_out()
        claim_folder(folder, self.runs.settings)
        trainings = {
            (name, seed): variant for name, variant in zip(names, self.variants, strict=True) for seed in self.seeds
        }
        part = Part.of_environment()
        for (name, seed), variant in list(trainings.items())[part.rank :: part.size]:
            self._finish(folder / name / f"seed-{seed}", variant, seed)
            self._write_tables(names)
        rows = self._write_tables(names)
        warn_of_pairs({f"{row['key']} {row['value']}": row for row in rows})
        logger.info("ablation written to %s", folder / f"{NAME}.md")
        return rows

    def folders(self) -> list[str]:
        """Return the name of the folder of each variant; variants with the same network share one.

        The networks are built, so that wrong values are found before work starts.

        Returns:
            The names.

        Raises:
            InputError: if a key or a value is invalid.
        """
        training = make_workflow("train", "train", self.runs.overlays).parser
        check_variants(self.variants, training.get())
        own = self.runs.network()
        names = []
        for variant in self.variants:
            if not variant.is_of_network:
                self.runs.check(**variant.changes)
            network = self.runs.network(**variant.changes)
            changes = {key: value for key, value in network.items() if own.get(key) != value}
            names.append(folder_name(changes if variant.is_of_network else variant.changes))
        return names

    def _finish(self, folder: Path, variant: Variant, seed: int) -> None:
        """Train and score a variant unless it is finished.

        Raises:
            InputError: if it cannot be trained or scored, or another process is at it.
        """
        make_folder(folder)
        taken = lock(folder / LOCK)
        try:
            weights = self.runs.train(folder, seed=seed, **variant.changes)
            kept = self.runs.score(folder, weights, refine=0, **variant.of_evaluation)
        except InputError as error:
            raise InputError(f"{variant.key} {variant.text}: {error}") from error
        finally:
            taken.release()
        logger.info("%s %s, seed %d: %s", variant.key, variant.text, seed, "kept from before" if kept else "finished")

    def _write_tables(self, names: Sequence[str]) -> list[Row]:
        """Write the tables of the variants that are finished, and return their rows.

        Args:
            names: name of the folder of each variant.

        Raises:
            InputError: if a table cannot be written.
        """
        folder = self.runs.output_dir
        taken = lock(folder / LOCK, wait_s=WAIT_S)
        try:
            rows = []
            for variant, name in zip(self.variants, names, strict=True):
                seeds = [folder / name / f"seed-{seed}" for seed in self.seeds]
                finished = [of_seed for of_seed in seeds if (of_seed / RECORD).is_file()]
                if finished:
                    rows.append(_row_of(variant, finished))
            write_tables(folder / NAME, COLUMNS, rows)
        finally:
            taken.release()
        return rows


def _row_of(variant: Variant, folders: Sequence[Path]) -> Row:
    """Return the row of a variant.

    Args:
        variant: variant of the training.
        folders: folder of each of its seeds.

    Returns:
        The row: means and standard deviations over the seeds of the mean scores, the mean time of a step, and the most
        memory of it.
    """
    summaries = [summary_of(folder) for folder in folders]
    costs = [read_or_empty(folder / TRAINING / COST, dict) for folder in folders]
    row: dict[str, Any] = {"rows": variant.group, "key": variant.key, "value": variant.text, "seeds": len(folders)}
    for key in SCORES:
        values = [summary[key] for summary in summaries if summary[key] is not None]
        row |= dict(zip((key, f"{key}_std"), mean_and_std(values).values(), strict=True))
    memory = [cost[PEAK_MEGABYTES] for cost in costs if cost.get(PEAK_MEGABYTES) is not None]
    return row | {
        "parameters_millions": summaries[0]["parameters_millions"],
        "pairs": sum(summary["pairs"] for summary in summaries),
        LEFT_OUT: sorted({pair for summary in summaries for pair in summary[LEFT_OUT]}),
        "step_seconds": mean_and_std([cost[STEP_SECONDS] for cost in costs if STEP_SECONDS in cost])["mean"],
        "peak_megabytes": max(memory, default=None),
    }
