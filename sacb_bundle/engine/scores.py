"""Tables of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import InputError, failure_of
from ..files import make_folder, write_json
from ..metrics import LABEL_SCORES, PairScores, mean_and_std
from ..tables import write_csv

logger = logging.getLogger(__name__)

FIELD_SCORES = ["folding_percent", "ndv_percent", "sd_log_jacobian"]
IMAGE_SCORES = ["similarity_before", "similarity_after"]
COSTS = ["seconds", "peak_megabytes"]
# Key of the summary with the reason each pair is left out, by its id.
LEFT_OUT = "pairs_left_out"
TABLE, PAIR_TABLE, SUMMARY = "metrics.csv", "pairs.csv", "metrics.json"
PAIR_SCORES = [*LABEL_SCORES, *FIELD_SCORES, *IMAGE_SCORES]


class EvaluationTables:
    """Collect the scores of pairs, and write metrics.csv, pairs.csv and metrics.json at the end.

    metrics.csv has a row for each pair and label: Dice, and HD95 and ASSD in mm, each before and after registration,
    with the pair's percentage of voxels with non-positive Jacobian determinant, its non-diffeomorphic volume and the
    standard deviation of its log Jacobian. A distance is empty if the label vanished in registration. pairs.csv has a
    row for each pair: the means over its labels, the same scores of the field, the similarity before and after, the
    seconds of the network and its refinement, and the most GPU memory that they took, in MB. metrics.json has the mean
    and standard deviation of each score over the pairs. A pair that cannot be scored is left out, and the reason is
    logged.

    Args:
        output_dir: folder of the files.
        pairs: pairs to score, see `sacb_bundle.data.PairFiles`.
    """

    def __init__(self, output_dir: str | Path, pairs: Sequence[Mapping[str, str]]) -> None:
        self.output_dir = Path(output_dir)
        self.pairs = pairs
        self.scores: dict[str, PairScores] = {}
        self.costs: dict[str, dict[str, float | None]] = {}
        self.left_out: dict[str, str] = {}

    def begin(self) -> list[str]:
        """Make the folder, and forget the scores of an earlier evaluation.

        Returns:
            The ids of all pairs.

        Raises:
            InputError: if the folder cannot be made or written to.
        """
        make_folder(self.output_dir)
        self.scores.clear()
        self.costs.clear()
        self.left_out.clear()
        return [pair["id"] for pair in self.pairs]

    def finish(self, process: Callable, data: dict[str, Any]) -> str:
        """Score a pair.

        Args:
            process: function that scores a pair, and returns a dict with its `PairScores` under "scores".
            data: items of the pair, with "id" and what `sacb_bundle.study.CaseEvaluator` adds.

        Returns:
            The reason the pair is left out; "" if it is scored.

        Raises:
            RuntimeError: if the pair fails for a reason that the user cannot fix.
        """
        try:
            self.scores[data["id"]] = process(data)["scores"]
        except Exception as error:  # MONAI wraps an InputError in its own
            failure = failure_of(error)
            self.fail(data["id"], failure)
            return failure["error"]
        peak = data["network_peak_bytes"]
        costs = (data["network_seconds"], None if peak is None else peak / 1e6)
        self.costs[data["id"]] = dict(zip(COSTS, costs, strict=True))
        return ""

    def fail(self, case: str, failure: Mapping[str, str]) -> None:
        """Leave a pair out, and log the reason.

        Args:
            case: id of the pair.
            failure: error to record, see `failure_of`.

        Raises:
            RuntimeError: if the user cannot fix the reason.
        """
        if "traceback" in failure:
            raise RuntimeError(failure["traceback"])
        self.left_out[case] = failure["error"]
        logger.warning("%s: left out: %s", case, failure["error"])

    def summarise(self) -> dict[str, float]:
        """Write the files, and log the mean and standard deviation of each score.

        Returns:
            The mean of each score over pairs, by its name; a score that no pair has is left out.

        Raises:
            InputError: if a file cannot be written.
        """
        scored = {pair["id"]: self.scores[pair["id"]] for pair in self.pairs if pair["id"] in self.scores}
        rows = [
            {"pair": pair} | asdict(row) | {name: getattr(scores, name) for name in FIELD_SCORES}
            for pair, scores in scored.items()
            for row in scores.labels
        ]
        write_csv(self.output_dir / TABLE, ["pair", "label", *LABEL_SCORES, *FIELD_SCORES], rows)
        of_pairs = [{"pair": pair} | _scores_of_pair(scores) | self.costs[pair] for pair, scores in scored.items()]
        write_csv(self.output_dir / PAIR_TABLE, ["pair", *PAIR_SCORES, *COSTS], of_pairs)
        summary = _counts(list(scored.values())) | {LEFT_OUT: self.left_out}
        means = {}
        for name in PAIR_SCORES:
            summary[name] = mean_and_std([row[name] for row in of_pairs if row[name] is not None])
            values = [value for value in summary[name].values() if value is not None]
            if values:
                means[name] = values[0]
                logger.info("%s: %s", name, " ± ".join(f"{value:.4f}" for value in values))
        write_json(summary, self.output_dir / SUMMARY)
        return means

    def stop(self) -> None:
        """Write nothing, since scores of some pairs could be mistaken for those of all."""

    def end(self, failed: Mapping[str, str], number: int) -> None:
        """Check that at least one pair was scored, if there were any.

        Args:
            failed: reason each pair was left out, by its id.
            number: number of all pairs.

        Raises:
            InputError: if every pair was left out.
        """
        if failed and len(failed) == number:
            case, error = next(iter(failed.items()))
            raise InputError(f"No pair could be scored; the first, {case}: {error}")

    def release(self) -> None:
        """Do nothing, since no lock is held."""


def _scores_of_pair(scores: PairScores) -> dict[str, Any]:
    """Return the scores of a pair by name: of labels, the mean over those that have one; None if none has."""
    of_labels = {
        name: [value for row in scores.labels if (value := getattr(row, name)) is not None] for name in LABEL_SCORES
    }
    means = {name: fmean(values) if values else None for name, values in of_labels.items()}
    return means | {name: getattr(scores, name) for name in (*FIELD_SCORES, *IMAGE_SCORES)}


def _counts(pairs: Sequence[PairScores]) -> dict[str, Any]:
    """Count the pairs, and the labels that are left out of their scores or vanished."""
    return {
        "pairs": len(pairs),
        "pairs_without_labels": sum(not pair.labels for pair in pairs),
        "labels_left_out": sum(len(pair.left_out) for pair in pairs),
        "labels_vanished": sum(len(pair.vanished) for pair in pairs),
    }
