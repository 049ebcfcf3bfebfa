"""Compare methods on the same pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..engine.run_folder import WEIGHTS
from ..engine.workflow import Component
from ..errors import InputError
from ..files import check_results, file_hash
from ..networks import NETWORKS, describe, network_for
from ..results.result_folder import lock
from ..study.fingerprint import described
from .folder import LOCK, WAIT_S, claim_folder
from .methods import ZERO_FIELD, Method, base_name, methods_of
from .page import PAGE, PLOT, write_comparison_page
from .runs import Runs, summary_of, warn_of_pairs
from .tables import SCORE_COLUMNS, Column, Row, write_tables

NAME = "comparison"
COLUMNS = (
    Column("method", "method"),
    Column("spacing (mm)", "spacing_mm", 1),
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

    Raises:
        InputError: as in `methods_of`, or if weights are not such paths.
    """

    def __init__(self, runs: Runs, methods: Sequence[str], weights: Mapping[str, str | Path]) -> None:
        self.runs = runs
        self.methods = methods_of(methods)
        if not isinstance(weights, Mapping) or not all(isinstance(path, (str, Path)) for path in weights.values()):
            raise InputError(
                f"weights is {weights!r}; it must give the path of the weights by the name of the method, such as "
                "{'sacb-net': 'model.pt'}."
            )
        self.weights = {name: Path(path) for name, path in weights.items()}
        self.notes: list[str] = []
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
            if obstacle := method.obstacle:
                self._leave_out(name, obstacle)
                continue
            kept = self._score(name, method)
            # The seconds of making zeros say nothing.
            untimed = {"seconds": None} if method.untrained == ZERO_FIELD else {}
            row = summary_of(folder / name)
            spacing = row["spacing_mm"] or self.runs.settings["spacing"]
            rows.append({"method": name} | row | {"spacing_mm": spacing} | untimed)
            logger.info("%s: %s", name, "kept from before" if kept else _in_words(rows[-1]))
        if not rows:
            raise InputError(f"No method is left to compare: {'; '.join(self.left_out.values())}.")
        write_tables(folder / NAME, COLUMNS, rows)
        notes = [*self.notes, *self.left_out.values(), *warn_of_pairs({row["method"]: row for row in rows})]
        write_comparison_page(folder, self._drawn, self.runs.dataset_dir, COLUMNS, rows, notes)
        logger.info("comparison written to %s", folder / PAGE)
        return rows

    def _check(self) -> None:
        """Check everything before work starts, and claim the output folder.

        Raises:
            InputError: as in `run`.
        """
        descriptions = {base_name(name): method.trained for name, method in self.methods.items()}
        trained = {name: description for name, description in descriptions.items() if description is not None}
        for name in self.weights:
            if name not in trained:
                raise InputError(f"weights are given for {name!r}, which is none of the trained networks to compare.")
        for name, description in trained.items():
            self._check_network(name, description)
        if trained.keys() - self.weights:
            self.notes += self.runs.check_held_out()
        results = [f"{NAME}.csv", f"{NAME}.md", PAGE, PLOT]
        check_results([self.runs.output_dir / file for file in results], [])
        claim_folder(self.runs.output_dir, self.runs.settings)

    def _check_network(self, name: str, description: Mapping[str, Any]) -> None:
        """Check the network of a method, and that weights that are given, or there already, are of the same network.

        Weights that were trained here agree in all options, others in those that the method names.

        Args:
            name: name of the method.
            description: description of its network, see `Method.trained`.

        Raises:
            InputError: if the network cannot be built, or the weights are of another one or cannot be read.
        """
        if (wanted := description.get("name", "SACBNet")) not in NETWORKS:
            raise InputError(f"{name}: there is no network {wanted}; the known networks are {', '.join(NETWORKS)}.")
        expected = self.runs.network(**_changes(description))
        path = self.weights.get(name, self.runs.output_dir / name / WEIGHTS)
        if name in self.weights:
            expected = {key: value for key, value in expected.items() if key in ("name", *description)}
        elif not path.is_file():
            return
        network: Any = network_for(path)
        found = described(describe(network))
        file_hash(path)
        remedy = "" if name in self.weights else "; choose another output"
        if found["name"] != expected["name"]:
            raise InputError(
                f"{path}: holds weights of {found['name']}, but {name} needs those of {expected['name']}{remedy}."
            )
        for key, value in expected.items():
            if found[key] != value:
                raise InputError(
                    f"{path}: holds weights with {key} {found[key]}, but {name} needs {key} {value}{remedy}."
                )

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
                options["network_def"] = Component(method.untrained)
            else:
                weights = self.weights.get(base_name(name)) or self._train(base_name(name), method)
            return self.runs.score(folder / name, weights, **options)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error

    def _train(self, name: str, method: Method) -> Path:
        """Train the network of a method unless its weights are there, and return their path."""
        folder = self.runs.output_dir / name
        if not (folder / WEIGHTS).is_file():
            logger.info("%s: training into %s", name, folder)
        return self.runs.train(folder, **_changes(method.trained or {}))


def _changes(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of train.json for a network; none for that of the config."""
    if not description:
        return {}
    return {"network_def": Component("sacb_bundle.networks.build_network", description=dict(description))}


def _in_words(row: Row) -> str:
    """Return the main scores of a row."""
    return ", ".join(f"{c.heading} {c.cell(row)}" for c in SCORE_COLUMNS[:5] if row.get(c.key) is not None)
