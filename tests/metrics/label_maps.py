"""Label maps for the tests."""

import numpy as np
from scipy.ndimage import gaussian_filter, shift

SHAPE = (14, 17, 20)


def regions(seed: int, labels: tuple[int, ...], shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return smooth random regions, one per label, that fill the image up to its border."""
    noise = np.random.default_rng(seed).standard_normal((len(labels), *shape))
    return np.array(labels)[gaussian_filter(noise, sigma=(0, 2, 2, 2)).argmax(axis=0)]


def moved(label_map: np.ndarray, offset: tuple[int, int, int]) -> np.ndarray:
    """Move regions by whole voxels, repeating the labels at the border."""
    return shift(label_map, offset, order=0, mode="nearest")


def voxels(*where: tuple[int, int, int], label: int = 1) -> np.ndarray:
    """Return a label map with single voxels of one label."""
    label_map = np.zeros(SHAPE, dtype=np.int64)
    label_map[tuple(np.transpose(where))] = label
    return label_map
