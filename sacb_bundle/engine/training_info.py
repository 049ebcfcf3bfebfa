"""Describe a training run for the JSON file beside its weights, and for a run that resumes it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np

from ..data.pair_dataset import PairDataset
from ..errors import InputError
from ..networks import RegistrationNetwork, WeightsInfo, describe
from ..spatial import Grid, Volume, body_of

# Number of subjects or pairs that are measured; more change the median little.
MOST_MEASURED = 50


def training_info(network: RegistrationNetwork, spacing_mm: float, dataset: PairDataset, data: str) -> WeightsInfo:
    """Return the description of the weights of a training run.

    Args:
        network: network to train.
        spacing_mm: spacing of the training grids.
        dataset: training pairs.
        data: path of the data set; its name is recorded.

    Returns:
        The description. Its modality is "auto" if several rules scaled the images, and its size of the bodies is the
        median over at most 50 subjects or pairs.
    """
    modalities = {dataset.loaded[number]["modality"] for number in range(len(dataset.loaded))}
    kind = "subjects" if dataset.of_subjects else "pairs"
    return WeightsInfo(
        network=describe(network),
        spacing_mm=round(float(spacing_mm), 4),
        modality=modalities.pop() if len(modalities) == 1 else "auto",
        trained_on=f"{len(dataset.loaded)} {kind} of {os.path.basename(os.path.abspath(data))}",
        body_mm=_size_of_bodies(dataset, spacing_mm),
    )


def _size_of_bodies(dataset: PairDataset, spacing_mm: float) -> float | None:
    """Return the median size of the bodies in mm; None if no image shows one."""
    items = (dataset.item(number) for number in range(min(len(dataset.loaded), MOST_MEASURED)))
    sizes = []
    for image in (channel.cpu().numpy() for item in items for channel in item["image"]):
        try:
            sizes.append(body_of(Volume(image, Grid(image.shape, np.diag([spacing_mm] * 3 + [1.0])))).size)
        except InputError:  # the image is empty
            continue
    return round(median(sizes), 1) if sizes else None


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
