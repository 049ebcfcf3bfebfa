"""Scores of an evaluation as files."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from ignite.engine import Engine, Events

from ..files import whole_file
from ..metrics import LABEL_SCORES, PairScores, score_pair
from ..spatial import Grid

logger = logging.getLogger(__name__)

FIELD_SCORES = ["folding_percent", "ndv_percent", "sd_log_jacobian"]


class SaveScores:
    """Scores every registered pair and writes metrics.csv and summary.json when the evaluation is complete.

    metrics.csv has a row for each pair and label: Dice, and HD95 and ASSD in mm, each before and after
    registration, with the pair's percentage of voxels with non-positive Jacobian determinant, its non-diffeomorphic
    volume and the standard deviation of its log Jacobian. A distance is empty where registration made the label
    vanish. summary.json has mean and standard deviation over pairs of each pair's mean over labels; the means are also
    metrics of the evaluator, for handlers that log those.

    Args:
        output_dir: folder of both files.
        labels: label values to score.
    """

    def __init__(self, output_dir: str | Path, labels: Sequence[int]) -> None:
        self.output_dir = Path(output_dir)
        self.labels = labels
        self.scores: dict[str, PairScores] = {}

    def attach(self, evaluator: Engine) -> None:
        """Score after each pair, write at the end."""
        evaluator.add_event_handler(Events.STARTED, lambda: self.scores.clear())
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.score)
        evaluator.add_event_handler(Events.EPOCH_COMPLETED, self.write)

    def score(self, evaluator: Engine) -> None:
        """Score the pairs of a batch, which have "fixed_labels", "moving_labels", "warped_labels" and "pred"."""
        state: Any = evaluator.state
        for batch_item, output in zip(state.batch, state.output, strict=True):
            fixed, moving, warped = batch_item["fixed_labels"], batch_item["moving_labels"], output["warped_labels"].cpu()
            spacing = Grid(tuple(fixed.shape[1:]), np.asarray(fixed.affine)).spacing
            self.scores[batch_item["id"]] = score_pair(
                fixed[0], moving[0], warped[0], output["pred"], self.labels, spacing
            )

    def write(self, evaluator: Engine) -> None:
        """Write both files, and log the summary."""
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, ["pair", "label", *LABEL_SCORES, *FIELD_SCORES], lineterminator="\n")
        writer.writeheader()
        for pair, scores in self.scores.items():
            of_field = {name: getattr(scores, name) for name in FIELD_SCORES}
            writer.writerows({"pair": pair} | asdict(row) | of_field for row in scores.labels)
        summary = summarise(self.scores.values())
        for name, text in (("metrics.csv", table.getvalue()), ("summary.json", json.dumps(summary, indent=2) + "\n")):
            with whole_file(self.output_dir / name) as unfinished:
                unfinished.write_text(text, encoding="utf-8")
        for name in (*LABEL_SCORES, *FIELD_SCORES):
            values = [value for value in summary[name].values() if value is not None]
            logger.info("%s: %s", name, " ± ".join(f"{value:.4f}" for value in values))
            if values:
                evaluator.state.metrics[name] = values[0]


def summarise(pairs: Iterable[PairScores]) -> dict[str, Any]:
    """Mean and standard deviation over pairs of every score, and what was left out.

    A score of a pair is the mean over its labels; a pair with no label to score counts in none of the label scores.
    """
    pairs = list(pairs)
    summary: dict[str, Any] = {
        "pairs": len(pairs),
        "pairs_without_labels": sum(not pair.labels for pair in pairs),
        "labels_left_out": sum(len(pair.left_out) for pair in pairs),
        "labels_vanished": sum(len(pair.vanished) for pair in pairs),
    }
    for name in LABEL_SCORES:
        of_pairs = [[getattr(row, name) for row in pair.labels if getattr(row, name) is not None] for pair in pairs]
        summary[name] = mean_and_std([fmean(values) for values in of_pairs if values])
    for name in FIELD_SCORES:
        summary[name] = mean_and_std([getattr(pair, name) for pair in pairs])
    return summary


def mean_and_std(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and sample standard deviation; None where there are too few values."""
    return {
        "mean": fmean(values) if values else None,
        "std": stdev(values) if len(values) > 1 else None,
    }
