"""Train and score networks on one data set, by the configs of the bundle."""

from __future__ import annotations

import gc
import json
import shutil
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ..data import PairFiles
from ..engine import data_names
from ..engine.run_folder import STATE, WEIGHTS
from ..engine.scores import COSTS, PAIR_TABLE, SUMMARY
from ..engine.workflow import make_workflow, overlays_of, run_workflow
from ..errors import InputError
from ..files import file_hash, read_json, read_or_empty, read_text, whole_file, write_json
from ..networks import info_path
from ..study import versions
from ..study.fingerprint import input_hashes, settings_hash
from ..tables import parse_table

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


class Runs:
    """Trainings and evaluations on one data set, with the same settings.

    Args:
        dataset_dir: folder of the data set.
        output_dir: folder of all results.
        config: config of the data set, see `sacb_bundle.engine.workflow.overlays_of`; None for none.
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
        config: str | None = None,
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
        workflow = make_workflow("evaluate", "infer", self.overlays, **self._of_evaluation)
        pairs: list[PairFiles] = workflow.parser.get_parsed_content("pairs")
        if not pairs:
            raise InputError(
                f"{self.dataset_dir}: there is no pair to score; it takes two test or validation subjects."
            )
        return pairs

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Settings that all results share, of JSON types."""
        training = make_workflow("train", "train", self.overlays, dataset_dir=self.dataset_dir).parser
        return {
            "training_data": data_names(training.get_parsed_content("train#dataset#data")),
            "test_pairs": f"{len(self.pairs)}, {self._hash_of_pairs()[:12]}",
            "config": read_json(Path(self.overlays[0])) if self.overlays else {},
            "max_epochs": self.max_epochs,
            "spacing": training.get_parsed_content("trained_spacing"),
            "device": torch.device(self.device).type,
            **versions(),
        }

    def _hash_of_pairs(self) -> str:
        """Return a hash of the content of all pairs."""
        return settings_hash({pair["id"]: input_hashes(pair) for pair in self.pairs})

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
            options |= {"cache_dir": self.output_dir / "alignments", "resume": (training / STATE).is_file()}
            run_workflow("train", "train", self.overlays, replace=True, **options | changes)
            gc.collect()  # the network and the data, whose memory would count for the next run
            for name in (info_path(weights).name, WEIGHTS):
                with whole_file(folder / name) as unfinished:
                    shutil.copyfile(training / name, unfinished)
        return weights

    def score(self, folder: Path, weights: Path | None, **changes: Any) -> bool:
        """Score a network on the pairs, unless its scores are there.

        Args:
            folder: folder of the scores.
            weights: path of the weights; None for a network without weights.
            changes: keys of evaluate.json and their values.

        Returns:
            Whether the scores were there already, from the same weights and changes.

        Raises:
            InputError: as in `run_workflow`.
        """
        settings = json.loads(json.dumps(changes)) | {"weights": None if weights is None else file_hash(weights)}
        if read_or_empty(folder / RECORD, dict).get("settings") == settings:
            return True
        (folder / RECORD).unlink(missing_ok=True)
        options: dict[str, Any] = {"output_dir": folder, "device": self.device, "jobs": self.jobs}
        options |= {"spacing": self.settings["spacing"], "cache_dir": self.output_dir / "alignments"}
        options |= self._without_weights() if weights is None else _with_weights(weights)
        workflow = run_workflow("evaluate", "infer", self.overlays, **self._of_evaluation | options | changes)
        network = workflow.parser.get_parsed_content("network_def")
        parameters = sum(parameter.numel() for parameter in network.parameters())
        write_json({"settings": settings, "parameters": parameters}, folder / RECORD)
        del workflow, network
        gc.collect()
        return False

    def _without_weights(self) -> dict[str, Any]:
        """Return the options of evaluate.json for a network without weights, which runs on the CPU."""
        info = {
            "_target_": "sacb_bundle.networks.WeightsInfo",
            "spacing_mm": self.settings["spacing"],
            "modality": "auto",
        }
        return {"weights": info, "loaded": None, "device": "cpu"}


def _with_weights(weights: Path) -> dict[str, Any]:
    """Return the options of evaluate.json for weights, whose network a config of the training may not change."""
    network = {"_target_": "sacb_bundle.networks.network_for", "weights": weights}
    return {"checkpoint": weights, "network_def": network}


def summary_of(folder: Path) -> dict[str, Any]:
    """Read the scores of a network.

    Args:
        folder: folder of its scores.

    Returns:
        Means ("dice" and others of `SCORES`) and standard deviations ("dice_std") over the pairs; "pairs", how many
        there are; "seconds", the median over the pairs; "peak_megabytes", the most of a pair; and
        "parameters_millions" of the network.

    Raises:
        InputError: if the files cannot be read.
    """
    summary, path = read_json(folder / SUMMARY), folder / PAIR_TABLE
    pairs = [cells for _, cells in parse_table(read_text(path), COSTS, path).rows]
    row: dict[str, Any] = {"pairs": summary["pairs"]}
    for key, score in SCORES.items():
        row |= {key: summary[score]["mean"], f"{key}_std": summary[score]["std"]}
    memory = [float(cells["peak_megabytes"]) for cells in pairs if cells["peak_megabytes"]]
    return row | {
        "seconds": median(float(cells["seconds"]) for cells in pairs),
        "peak_megabytes": max(memory, default=None),
        "parameters_millions": read_json(folder / RECORD)["parameters"] / 1e6 or None,
    }
