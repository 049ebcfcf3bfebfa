"""Describe a training for the file beside its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..data.pair_dataset import PairDataset
from ..networks import RegistrationNetwork, WeightsInfo, describe
from ..registration.measures import deciles

# Number of images used for the deciles of the intensities; more change them little.
LARGEST_NUMBER_OF_IMAGES = 50


def training_info(network: RegistrationNetwork, spacing_mm: float, dataset: PairDataset, data: str) -> WeightsInfo:
    """Return the description of the weights of a training.

    Args:
        network: network to train.
        spacing_mm: spacing of the training grids.
        dataset: training pairs.
        data: path of the data set; its name is recorded.

    Returns:
        The description. Its modality is "auto" if several rules scaled the images, and its deciles are the means over
        the images of at most 50 subjects or pairs, None if no image has a foreground.
    """
    images = [
        dataset.item(number)["image"].numpy() for number in range(min(len(dataset.loaded), LARGEST_NUMBER_OF_IMAGES))
    ]
    of_images = [values for image in images for channel in image if (values := deciles(channel))]
    modalities = {dataset.loaded[number]["modality"] for number in range(len(dataset.loaded))}
    kind = "subjects" if dataset.of_subjects else "pairs"
    return WeightsInfo(
        network=describe(network),
        spacing_mm=round(float(spacing_mm), 4),
        modality=modalities.pop() if len(modalities) == 1 else "auto",
        deciles=[round(float(value), 4) for value in np.mean(of_images, axis=0)] if of_images else None,
        trained_on=f"{len(dataset.loaded)} {kind} of {Path(data).name}",
    )
