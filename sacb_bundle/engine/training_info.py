"""Describe the weights of a training run for the JSON file beside them."""

from __future__ import annotations

from pathlib import Path

from ..data.pair_dataset import PairDataset
from ..networks import RegistrationNetwork, WeightsInfo, describe


def training_info(network: RegistrationNetwork, spacing_mm: float, dataset: PairDataset, data: str) -> WeightsInfo:
    """Return the description of the weights of a training run.

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
        trained_on=f"{len(dataset.loaded)} {kind} of {Path(data).name}",
    )
