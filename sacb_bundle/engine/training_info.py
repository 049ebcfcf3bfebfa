"""Describe a training for the file beside its weights, and for a run that resumes it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence

from ..data.pair_dataset import PairDataset
from ..networks import RegistrationNetwork, WeightsInfo, describe


def training_info(network: RegistrationNetwork, spacing_mm: float, dataset: PairDataset, data: str) -> WeightsInfo:
    """Return the description of the weights of a training.

    Args:
        network: network to train.
        spacing_mm: spacing of the training grids.
        dataset: training pairs.
        data: path of the data set; its name is recorded.

    Returns:
        The description. Its modality is "auto" if several rules scaled the images.
    """
    modalities = {dataset.loaded[number]["modality"] for number in range(len(dataset.loaded))}
    kind = "subjects" if dataset.of_subjects else "pairs"
    return WeightsInfo(
        network=describe(network),
        spacing_mm=round(float(spacing_mm), 4),
        modality=modalities.pop() if len(modalities) == 1 else "auto",
        trained_on=f"{len(dataset.loaded)} {kind} of {os.path.basename(os.path.abspath(data))}",
    )


def data_names(items: Sequence[Mapping[str, str]]) -> str:
    """Tell a list of subjects or pairs from others by the names of its files.

    Args:
        items: subjects or pairs, each as paths by key; see `sacb_bundle.data.PairFiles`.

    Returns:
        Their number, and a short hash of their names, which depends on their order but not on where they lie: the paths
        are relative to the folder that all share.
    """
    files = [{key: os.path.abspath(path) for key, path in item.items() if key != "id"} for item in items]
    folders = {os.path.dirname(path) for item in files for path in item.values()}
    shared = os.path.commonpath(folders) if folders else ""
    names = [{key: os.path.relpath(path, shared) for key, path in item.items()} for item in files]
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
    return f"{len(items)} named {digest[:12]}"
