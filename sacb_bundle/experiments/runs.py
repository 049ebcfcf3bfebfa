"""Train and score networks on one data set, by the configs of the bundle."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..data import PairFiles
from ..engine import data_names
from ..engine.workflow import make_workflow, overlays_of, run_workflow
from ..files import file_hash, read_json, read_or_empty, whole_file, write_json
from ..networks import info_path
from ..study import versions
from ..study.fingerprint import input_hashes, settings_hash

TRAINING, RECORD = "training", "scored.json"
WEIGHTS, STATE, COST, SUMMARY = "model.pt", "last.pt", "cost.json", "metrics.json"


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
        """Pairs to score: of the test subjects, or of the validation subjects if there are no test subjects."""
        workflow = make_workflow("evaluate", "infer", self.overlays, **self._of_evaluation)
        pairs: list[PairFiles] = workflow.parser.get_parsed_content("pairs")
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
        options |= self._without_weights() if weights is None else {"checkpoint": weights}
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


def summary_of(folder: Path) -> Mapping[str, Any]:
    """Read the scores of a network.

    Args:
        folder: folder of its scores.

    Returns:
        The content of metrics.json, with "parameters", the number of parameters of the network.

    Raises:
        InputError: if the files cannot be read.
    """
    content: dict[str, Any] = read_json(folder / SUMMARY)
    return content | {"parameters": read_json(folder / RECORD)["parameters"]}
