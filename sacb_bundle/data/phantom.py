"""Make a brain-like pair of synthetic images for the demonstration and the tests."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ..spatial import Grid, Volume

# Label, centre and half axes of each ellipsoid in fractions of the half size of the grid, and intensity.
ELLIPSOIDS = (
    (1, (0.0, 0.0, 0.0), (0.72, 0.82, 0.70), 0.55),
    (2, (0.0, 0.0, 0.05), (0.58, 0.68, 0.54), 0.80),
    (3, (-0.16, 0.05, 0.12), (0.09, 0.30, 0.13), 0.15),
    (4, (0.16, 0.05, 0.12), (0.09, 0.30, 0.13), 0.15),
    (5, (-0.18, -0.02, -0.12), (0.11, 0.16, 0.11), 0.62),
    (6, (0.18, -0.02, -0.12), (0.11, 0.16, 0.11), 0.62),
    (7, (0.0, -0.48, -0.42), (0.34, 0.22, 0.20), 0.68),
)
SPACING_MM = 2.0


def phantom_pair(
    shape: tuple[int, int, int] = (80, 96, 80), seed: int = 0, amplitude: float = 1.5
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Make two images of the same ellipsoids, each deformed by its own smooth random field.

    Args:
        shape: (D, H, W).
        seed: seed of the deformations; the texture is always the same.
        amplitude: standard deviation of each component of the deformations, in voxels.

    Returns:
        {"moving": (image, labels), "fixed": (image, labels)}; images uint8 (D, H, W), labels uint8 (D, H, W), to be
        stored with a spacing of 2 mm, RAS.
    """
    generator = np.random.default_rng(seed)
    return {role: phantom(shape, _smooth_noise(shape, generator, 8.0, amplitude)) for role in ("moving", "fixed")}


def phantom_images(
    shape: tuple[int, int, int] = (80, 96, 80), seed: int = 0, amplitude: float = 1.5
) -> tuple[Volume, Volume]:
    """Make the images of `phantom_pair` in memory, on a grid of 2 mm, RAS.

    Args:
        shape: shape (D, H, W).
        seed: seed of the deformations.
        amplitude: standard deviation of each component of the deformations, in voxels.

    Returns:
        The fixed and the moving image.
    """
    pair = phantom_pair(shape, seed, amplitude)
    grid = Grid(shape, np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0]))
    return Volume(pair["fixed"][0], grid), Volume(pair["moving"][0], grid)


def phantom(shape: tuple[int, int, int], displacement: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the ellipsoids at displaced positions.

    Args:
        shape: (D, H, W).
        displacement: displacement (3, D, H, W) of the position at each voxel, in voxels; 0.0 for none.

    Returns:
        The image and its label map, both uint8 (D, H, W).
    """
    half = np.array(shape).reshape(3, 1, 1, 1) / 2
    places = (np.indices(shape) + displacement + 0.5 - half) / half
    labels = np.zeros(shape, np.uint8)
    intensity = np.zeros(shape)
    for label, centre, half_axes, value in ELLIPSOIDS:
        offset = (places - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(half_axes, (3, 1, 1, 1))
        # Wavy surfaces mimic the folds of the cortex; smooth ellipsoids alone have few features to match.
        waves = 0.06 * np.sin(14 * places[0]) * np.sin(14 * places[1]) * np.sin(14 * places[2])
        inside = np.square(offset).sum(axis=0) < np.square(1 + waves)
        labels[inside], intensity[inside] = label, value
    texture = _smooth_noise(shape, np.random.default_rng(0), 1.5, 0.04)[0]
    textured = intensity + (labels > 0) * map_coordinates(texture, (places + 1) * half - 0.5, order=1, mode="nearest")
    return np.clip(255 * gaussian_filter(textured, 0.6), 0, 255).astype(np.uint8), labels


def _smooth_noise(
    shape: tuple[int, int, int], generator: np.random.Generator, sigma: float, deviation: float
) -> np.ndarray:
    """Return Gaussian noise (3, D, H, W), smoothed over `sigma` voxels and scaled to a standard deviation."""
    noise = np.stack([gaussian_filter(generator.standard_normal(shape), sigma, mode="wrap") for _ in range(3)])
    return noise * (deviation / noise.std())
