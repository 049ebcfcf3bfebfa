"""Tables of an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
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
TABLE, SUMMARY = "metrics.csv", "metrics.json"


class EvaluationTables:
    """Collect the scores of pairs, and write metrics.csv and metrics.json at the end.

    metrics.csv has a row for each pair and label: Dice, and HD95 and ASSD in mm, each before and after registration,
    with the pair's percentage of voxels with non-positive Jacobian determinant, its non-diffeomorphic volume and the
    standard deviation of its log Jacobian. A distance is empty if the label vanished in registration. metrics.json has
    the mean and standard deviation over pairs of each pair's mean over labels. A pair that cannot be scored is left
    out, and the reason is logged.

    Args:
        output_dir: folder of both files.
        pairs: pairs to score, see `sacb_bundle.data.PairFiles`.
    """

    def __init__(self, output_dir: str | Path, pairs: Sequence[Mapping[str, str]]) -> None:
        self.output_dir = Path(output_dir)
        self.pairs = pairs
        self.scores: dict[str, PairScores] = {}
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
        self.left_out.clear()
        return [pair["id"] for pair in self.pairs]

    def finish(self, process: Callable, data: dict[str, Any]) -> str:
        """Score a pair.

        Args:
            process: function that scores a pair, and returns a dict with its `PairScores` under "scores".
            data: items of the pair, with "id".

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
        """Write both files, and log the mean and standard deviation of each score.

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
        summary = _scores_over_pairs(scored.values()) | {"pairs_left_out": self.left_out}
        write_json(summary, self.output_dir / SUMMARY)
        means = {}
        for name in (*LABEL_SCORES, *FIELD_SCORES):
            values = [value for value in summary[name].values() if value is not None]
            logger.info("%s: %s", name, " ± ".join(f"{value:.4f}" for value in values))
            if values:
                means[name] = values[0]
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


def _scores_over_pairs(pairs: Iterable[PairScores]) -> dict[str, Any]:
    """Compute the mean and standard deviation over pairs of every score, and count the labels left out.

    The score of a pair is the mean over its labels; a pair without labels does not count in the label scores.

    Args:
        pairs: scores of the pairs.

    Returns:
        The content of metrics.json: "mean" and "std" of each score, see `mean_and_std`, and the numbers "pairs",
        "pairs_without_labels", "labels_left_out" and "labels_vanished".
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
