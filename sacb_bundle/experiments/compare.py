"""Compare methods on the same pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.run_folder import WEIGHTS
from ..errors import InputError
from ..files import check_results, file_hash
from ..networks import NETWORKS, read_info
from ..results.result_folder import lock
from .folder import LOCK, WAIT_S, claim_folder
from .methods import METHODS, REFINED, Method, base_name, methods_of
from .page import PAGE, PLOT, write_comparison_page
from .runs import Runs, summary_of
from .tables import SCORE_COLUMNS, Column, Row, write_tables

NAME = "comparison"
COLUMNS = (
    Column("method", "method"),
    *SCORE_COLUMNS,
    Column("seconds", "seconds", 3),
    Column("peak memory (MB)", "peak_megabytes", 0),
    Column("pairs", "pairs", 0),
)
logger = logging.getLogger(__name__)


class Comparison:
    """Register the same pairs with each method, score them, and write tables, a plot and a page.

    A network without weights is trained first. Each method has a folder with its scores and, if it was trained here,
    its weights; methods whose scores are complete are kept.

    Args:
        runs: trainings and evaluations on the data set.
        methods: names of the methods, see `methods_of`.
        weights: path of the weights of a trained network by the name of the method; others are trained.
    """

    def __init__(self, runs: Runs, methods: Sequence[str], weights: Mapping[str, str | Path]) -> None:
        self.runs = runs
        self.methods = methods_of(methods)
        self.weights = {name: Path(path) for name, path in weights.items()}
        self.left_out: dict[str, str] = {}

    def run(self) -> list[Row]:
        """Compare the methods.

        Returns:
            The rows of the table, see `COLUMNS`.

        Raises:
            InputError: if the output folder holds other results, weights or data are invalid, or no method is left.
        """
        self._check()
        taken = lock(self.runs.output_dir / LOCK, WAIT_S)
        try:
            return self._compare()
        finally:
            taken.release()

    @property
    def _drawn(self) -> str:
        """Id of the pair to draw: the first one."""
        return self.runs.pairs[0]["id"]

    def _compare(self) -> list[Row]:
        """Score the methods, write the results, and return the rows."""
        folder = self.runs.output_dir
        rows: list[Row] = []
        for name, method in self.methods.items():
            if not method.is_installed:
                self._leave_out(name, f"it needs {method.package}; pip install {method.package}")
                continue
            kept = self._score(name, method)
            rows.append({"method": name} | summary_of(folder / name))
            logger.info("%s: %s", name, "its scores are complete and kept" if kept else _in_words(rows[-1]))
        if not rows:
            raise InputError(f"No method is left to compare: {'; '.join(self.left_out.values())}.")
        write_tables(folder / NAME, COLUMNS, rows)
        write_comparison_page(folder, self._drawn, self.runs.dataset_dir, COLUMNS, rows, self.left_out)
        logger.info("comparison written to %s", folder / PAGE)
        return rows

    def _check(self) -> None:
        """Check everything before work starts, and claim the output folder.

        Raises:
            InputError: as in `run`.
        """
        for name, method in self.methods.items():
            network = (method.trained or {}).get("name", "SACBNet")
            if network not in NETWORKS:
                raise InputError(
                    f"{name}: there is no network {network}; the known networks are {', '.join(NETWORKS)}."
                )
        for name, path in self.weights.items():
            trained = METHODS[name].trained if name in map(base_name, self.methods) else None
            if trained is None:
                raise InputError(f"weights are given for {name!r}, which is none of the trained networks to compare.")
            network, expected = read_info(path).network["name"], trained.get("name")
            if expected and network != expected:
                raise InputError(f"{path}: holds weights of {network}, but {name} needs those of {expected}.")
            file_hash(path)
        own = [f"{NAME}.csv", f"{NAME}.md", PAGE, PLOT]
        check_results([self.runs.output_dir / file for file in own], [])
        names = [*METHODS, *(name + REFINED for name in METHODS)]
        claim_folder(self.runs.output_dir, self.runs.settings, names)

    def _leave_out(self, name: str, reason: str) -> None:
        """Leave a method out, and log the reason."""
        self.left_out[name] = f"{name} is left out: {reason}"
        logger.warning("%s", self.left_out[name])

    def _score(self, name: str, method: Method) -> bool:
        """Train a method if necessary, and score it; return whether its scores were there already.

        Raises:
            InputError: if it cannot be trained or scored; names the method.
        """
        folder = self.runs.output_dir
        options: dict[str, Any] = {"refine": method.refine, "pictures_of": (self._drawn,)}
        options |= {"initial": method.initial} if method.initial else {}
        weights = None
        try:
            if method.trained is None:
                options["network_def"] = {"_target_": method.untrained}
            else:
                weights = self.weights.get(base_name(name)) or self._train(base_name(name), method)
            return self.runs.score(folder / name, weights, **options)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error

    def _train(self, name: str, method: Method) -> Path:
        """Train the network of a method unless its weights are there, and return their path."""
        changes: dict[str, Any] = {}
        if method.trained:
            changes["network_def"] = {
                "_target_": "sacb_bundle.networks.build_network",
                "description": dict(method.trained),
            }
        folder = self.runs.output_dir / name
        if not (folder / WEIGHTS).is_file():
            logger.info("%s: training into %s", name, folder)
        return self.runs.train(folder, **changes)


def _in_words(row: Row) -> str:
    """Return the main scores of a row."""
    return ", ".join(f"{c.heading} {c.cell(row)}" for c in SCORE_COLUMNS[:5] if row.get(c.key) is not None)
