"""Train and score networks on one data set, by the configs of the bundle."""

from __future__ import annotations

import gc
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch
from monai.bundle import ConfigParser

from ..data import PairFiles, image_files
from ..engine.run_folder import STATE, WEIGHTS
from ..engine.scores import COSTS, LEFT_OUT, PAIR_TABLE, SUMMARY
from ..engine.workflow import Component, make_workflow, overlays_of, run_workflow
from ..errors import InputError, reason_of
from ..files import file_hash, read_json, read_or_empty, read_text, whole_file, write_json
from ..networks import WeightsInfo, describe, info_path, read_info
from ..study import versions
from ..study.fingerprint import described, scan_hash, settings_hash
from ..tables import parse_table
from .folder import ALIGNMENTS

TRAINING, RECORD = "training", "scored.json"
COST = "cost.json"
# Scores in tables by those of an evaluation.
SCORES = {
    "dice": "dice_after",
    "hd95_mm": "hd95_after",
    "assd_mm": "assd_after",
    "similarity": "similarity_after",
    "folding_percent": "folding_percent",
    "sd_log_jacobian": "sd_log_jacobian",
}
logger = logging.getLogger(__name__)


class Runs:
    """Trainings and evaluations on one data set, with the same settings.

    Args:
        dataset_dir: folder of the data set.
        output_dir: folder of all results.
        config: configs of data set and network, see `sacb_bundle.engine.workflow.overlays_of`; None for none.
        max_epochs: number of epochs of a training; None for that of the config.
        pairing: rule that pairs the test subjects; None for that of the config.
        device: device to compute on.
        jobs: number of processes that read and align pairs.
    """

    def __init__(
        self,
        dataset_dir: str | Path,
        output_dir: str | Path,
        *,
        config: str | Sequence[str] | None = None,
        max_epochs: int | None = None,
        pairing: str | None = None,
        device: str | torch.device = "cpu",
        jobs: int = 2,
    ) -> None:
        self.dataset_dir, self.output_dir = Path(str(dataset_dir)), Path(str(output_dir))
        self.config = config
        self.max_epochs = max_epochs
        self.pairing = pairing
        self.device = str(device)
        self.jobs = jobs

    @cached_property
    def overlays(self) -> tuple[str, ...]:
        """Paths of the configs on top of those of the bundle."""
        return overlays_of(self.config)

    @cached_property
    def pairs(self) -> list[PairFiles]:
        """Pairs to score: of the test subjects, or of the validation subjects if there are no test subjects.

        Raises:
            InputError: if there is none.
        """
        pairs: list[PairFiles] = self._evaluation.get_parsed_content("pairs")
        if not pairs:
            raise InputError(
                f"{self.dataset_dir}: there is no pair to score; it takes two test or validation subjects."
            )
        return pairs

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings that all results share, of JSON types."""
        return {
            "training_data": _content(self._items("train")),
            "validation_data": _content(self._items("validate")),
            "test_pairs": _content(self.pairs),
            "labels": self._evaluation.get_parsed_content("labels"),
            "config": [read_json(Path(overlay)) for overlay in self.overlays],
            "max_epochs": self.max_epochs,
            "spacing": self._training.get_parsed_content("trained_spacing"),
            "device": torch.device(self.device).type,
            **versions(),
        }

    @cached_property
    def _training(self) -> ConfigParser:
        """The config of the trainings."""
        return self._config_of_training()

    def _config_of_training(self, **changes: Any) -> ConfigParser:
        """Return the config of a training with other values of some keys."""
        options = {"dataset_dir": self.dataset_dir, "cache_dir": self.output_dir / ALIGNMENTS} | changes
        return make_workflow("train", "train", self.overlays, **options).parser

    @cached_property
    def _evaluation(self) -> ConfigParser:
        """The config of the evaluations."""
        return make_workflow("evaluate", "infer", self.overlays, **self._of_evaluation).parser

    def _items(self, part: str) -> list[dict[str, str]]:
        """Return the subjects or pairs to "train" on, or to "validate" on."""
        items: list[dict[str, str]] = self._training.get_parsed_content(f"{part}#dataset#data")
        return items

    def check_held_out(self) -> list[str]:
        """Check that the pairs to score are of no training subjects, and warn if they are of validation subjects.

        An atlas, to which all subjects are registered, is none of them.

        Returns:
            The warning, which is also logged; nothing if they are of test subjects.

        Raises:
            InputError: if the image of a pair is also for training.
        """
        atlas = self._training.get_parsed_content("atlas")
        scored = image_files(self.pairs, atlas)
        if both := sorted(scored & image_files(self._items("train"), atlas)):
            raise InputError(
                f"{self.dataset_dir}: {os.path.basename(both[0])} is both to train on and to score, and a network must "
                'not be scored on its own training data; name other subjects as "test" under "split" in dataset.json.'
            )
        if not scored & image_files(self._items("validate"), atlas):
            return []
        note = (
            "The pairs are of validation subjects, which also choose the best weights of a training; name others as "
            '"test" under "split" in dataset.json.'
        )
        logger.warning("%s", note)
        return [note]

    def check(self, **changes: Any) -> None:
        """Check the options of a training before it starts.

        Args:
            changes: keys of train.json and their values.

        Raises:
            InputError: if one is invalid.
        """
        self._parsed("checks", **changes)

    def _parsed(self, key: str, **changes: Any) -> Any:
        """Return the content of a key of train.json.

        Raises:
            InputError: as what the key makes.
        """
        config = self._config_of_training(**changes)
        try:
            return config.get_parsed_content(key)
        except Exception as error:  # MONAI wraps an InputError in its own
            reason = reason_of(error)
            if reason is None:
                raise
            raise reason from error

    def network(self, **changes: Any) -> dict[str, Any]:
        """Build the network of a training, and describe it.

        Args:
            changes: keys of train.json and their values.

        Returns:
            The description, see `sacb_bundle.networks.describe`, of JSON types.

        Raises:
            InputError: if the network cannot be built, or has no options.
        """
        network = self._parsed("network_def", **changes)
        if not isinstance(getattr(network, "options", None), dict):
            raise InputError(
                f"network_def makes {network!r:.80}; it must make a network with the attribute options, see "
                "sacb_bundle.networks.RegistrationNetwork."
            )
        return dict(described(describe(network)))

    @property
    def _of_evaluation(self) -> dict[str, Any]:
        """Options of evaluate.json that all evaluations share."""
        options: dict[str, Any] = {"dataset_dir": self.dataset_dir, "split": "test"}
        return options | ({"pairing": self.pairing} if self.pairing else {})

    def train(self, folder: Path, **changes: Any) -> Path:
        """Train a network, or continue its training, unless its weights are there.

        Args:
            folder: folder of the weights; the training has a folder of its own in it.
            changes: keys of train.json and their values.

        Returns:
            Path of the weights.

        Raises:
            InputError: as in `run_workflow`.
        """
        weights, training = folder / WEIGHTS, folder / TRAINING
        if not weights.is_file():
            options: dict[str, Any] = {"dataset_dir": self.dataset_dir, "output_dir": training, "device": self.device}
            options |= {} if self.max_epochs is None else {"max_epochs": self.max_epochs}
            options |= {"cache_dir": self.output_dir / ALIGNMENTS, "resume": (training / STATE).is_file()}
            run_workflow("train", "train", self.overlays, replace=True, **options | changes)
            gc.collect()  # the network and the data, whose memory would count for the next run
            for name in (info_path(weights).name, WEIGHTS):
                with whole_file(folder / name) as unfinished:
                    shutil.copyfile(training / name, unfinished)
        return weights

    def score(self, folder: Path, weights: Path | None, **changes: Any) -> bool:
        """Score a network on the pairs, unless the scores of all of them are there.

        Each network works at the spacing that its weights were trained at, others at that of the training.

        Args:
            folder: folder of the scores.
            weights: path of the weights; None for a network without weights.
            changes: keys of evaluate.json and their values.

        Returns:
            Whether the scores of all pairs were there already, from the same weights and changes.

        Raises:
            InputError: as in `run_workflow`.
        """
        info = None if weights is None else read_info(weights)
        settings = changes | {"weights": None if weights is None else file_hash(weights)}
        settings = json.loads(json.dumps(settings | {"info": None if info is None else asdict(info)}))
        earlier = read_or_empty(folder / RECORD, dict).get("settings", settings)
        if earlier != settings:
            logger.info("%s: scored before with other weights or options; scored again", folder.name)
        elif (folder / RECORD).is_file() and not read_or_empty(folder / SUMMARY, dict).get(LEFT_OUT):
            return True
        (folder / RECORD).unlink(missing_ok=True)
        options: dict[str, Any] = {"output_dir": folder, "device": self.device, "jobs": self.jobs}
        options |= {"cache_dir": self.output_dir / ALIGNMENTS}
        options |= self._without_weights() if weights is None or info is None else _with_weights(weights, info)
        workflow = run_workflow("evaluate", "infer", self.overlays, **self._of_evaluation | options | changes)
        network = workflow.parser.get_parsed_content("network_def")
        parameters = sum(parameter.numel() for parameter in network.parameters())
        write_json({"settings": settings, "parameters": parameters}, folder / RECORD)
        del workflow, network
        gc.collect()
        return False

    def _without_weights(self) -> dict[str, Any]:
        """Return the options of evaluate.json for a network without weights, which runs on the CPU."""
        spacing = self.settings["spacing"]
        info = Component("sacb_bundle.networks.WeightsInfo", spacing_mm=spacing, modality="auto")
        return {"weights": info, "loaded": None, "device": "cpu", "spacing": spacing}


def _with_weights(weights: Path, info: WeightsInfo) -> dict[str, Any]:
    """Return the options of evaluate.json for weights, whose network a config of the training may not change."""
    network = Component("sacb_bundle.networks.network_for", weights=weights)
    return {"checkpoint": weights, "network_def": network, "spacing": info.spacing_mm}


def _content(items: Sequence[Mapping[str, str]]) -> str:
    """Tell subjects or pairs from others by the content of their files: their number, and a short hash."""
    hashes = [{key: path if key == "id" else scan_hash(path) for key, path in item.items()} for item in items]
    return f"{len(items)}, {settings_hash({'items': hashes})[:12]}"


def summary_of(folder: Path) -> dict[str, Any]:
    """Read the scores of a network.

    Args:
        folder: folder of its scores.

    Returns:
        "spacing_mm" of the weights; means ("dice" and others of `SCORES`) and standard deviations ("dice_std") over the
        pairs; "pairs", how many there are; "pairs_left_out", the ids of others; "seconds", the median over the pairs;
        "peak_megabytes", the most of a pair; and "parameters_millions" of the network.

    Raises:
        InputError: if the files cannot be read.
    """
    summary, path = read_json(folder / SUMMARY), folder / PAIR_TABLE
    pairs = [cells for _, cells in parse_table(read_text(path), COSTS, path).rows]
    record = read_json(folder / RECORD)
    info = record["settings"]["info"] or {}
    row: dict[str, Any] = {
        "spacing_mm": info.get("spacing_mm"),
        "pairs": summary["pairs"],
        LEFT_OUT: sorted(summary[LEFT_OUT]),
    }
    for key, score in SCORES.items():
        row |= {key: summary[score]["mean"], f"{key}_std": summary[score]["std"]}
    memory = [float(cells["peak_megabytes"]) for cells in pairs if cells["peak_megabytes"]]
    return row | {
        "seconds": median(float(cells["seconds"]) for cells in pairs),
        "peak_megabytes": max(memory, default=None),
        "parameters_millions": record["parameters"] / 1e6 or None,
    }


def warn_of_pairs(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Warn if pairs were left out, so that the rows of a table are not means over all of them.

    Args:
        rows: "pairs" and "pairs_left_out" of each row, see `summary_of`, by its name.

    Returns:
        The warning, which is also logged; nothing if all rows have all pairs.
    """
    left_out = {tuple(row[LEFT_OUT]) for row in rows.values()}
    if not any(left_out):
        return []
    if len(left_out) == 1:
        (pairs,) = left_out
        note = f"{len(pairs)} pairs are left out, such as {pairs[0]}; metrics.json says why."
    else:
        numbers = ", ".join(f"{name} has {row['pairs']}" for name, row in rows.items())
        note = f"The means are not over the same pairs, since some were left out: {numbers}."
        note += " The same command retries them."
    logger.warning("%s", note)
    return [note]
