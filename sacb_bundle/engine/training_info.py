"""Describe a training run for the JSON file beside its weights, and for a run that resumes it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence

import numpy as np

from ..data import PairMixture
from ..data.pair_dataset import PairDataset
from ..errors import InputError
from ..networks import RegistrationNetwork, WeightsInfo, describe
from ..spatial import Grid, Volume, body_of

# Number of subjects or pairs that are measured; more change the range little.
MOST_MEASURED = 50
# Percentiles of the sizes of bodies.
SMALL_AND_LARGE = (5, 95)


def training_info(
    network: RegistrationNetwork,
    spacing_mm: float,
    dataset: PairDataset | PairMixture,
    data: str,
    refine: int = WeightsInfo.refine,
) -> WeightsInfo:
    """Return the description of the weights of a training run.

    Args:
        network: network to train.
        spacing_mm: spacing of the training grids.
        dataset: training pairs.
        data: path of the data set; its name is recorded.
        refine: number of steps that refine a pair on a GPU by default.

    Returns:
        The description. Its modality is "auto" if several rules scaled the images, and its sizes of the bodies are the
        5th and 95th percentile of at most 50 subjects or pairs.
    """
    modalities = {dataset.loaded[number]["modality"] for number in range(len(dataset.loaded))}
    kind = "subjects" if dataset.of_subjects else "pairs"
    return WeightsInfo(
        network=describe(network),
        spacing_mm=round(float(spacing_mm), 4),
        modality=modalities.pop() if len(modalities) == 1 else "auto",
        trained_on=f"{len(dataset.loaded)} {kind} of {os.path.basename(os.path.abspath(data))}",
        body_mm=_sizes_of_bodies(dataset, spacing_mm),
        refine=refine,
    )


def _sizes_of_bodies(dataset: PairDataset | PairMixture, spacing_mm: float) -> tuple[float, float] | None:
    """Return the sizes of small and large bodies in mm; None if no image shows one."""
    number = len(dataset.loaded)
    items = (dataset.item(index) for index in np.linspace(0, number - 1, min(number, MOST_MEASURED)).astype(int))
    sizes = []
    for image in (channel.cpu().numpy() for item in items for channel in item["image"]):
        try:
            sizes.append(body_of(Volume(image, Grid(image.shape, np.diag([spacing_mm] * 3 + [1.0])))).size)
        except InputError:  # the image is empty
            continue
    if not sizes:
        return None
    smallest, largest = (round(float(size), 1) for size in np.percentile(sizes, SMALL_AND_LARGE))
    return smallest, largest


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
