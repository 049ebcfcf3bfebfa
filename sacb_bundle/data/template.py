"""The image that the subjects of a data set are aligned to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..intensities import CT_MODALITIES, SOFT_TISSUE_HU, appearance_of, scale
from ..spatial import AlignmentCache, Grid, Transform, Volume, averaged, canonical, resample

logger = logging.getLogger(__name__)


class Template:
    """Image that others are aligned to.

    Args:
        image: the image.
        name: its name in error messages, such as its path.
        initial: type of the alignments, see `sacb_bundle.spatial.align`.
        spacing_mm: spacing of the grid that aligned images will be sampled on.
        cache_dir: folder where alignments are kept for the next run.
        modality: "auto", or the modality of all images, see `sacb_bundle.intensities`.

    Attributes:
        image: the image averaged for that grid, with axes closest to RAS, background of the lowest intensity, and
            outliers clipped; a CT between -160 and 300 HU.

    Raises:
        InputError: if the image is constant.
    """

    def __init__(
        self, image: Volume, name: str, initial: str, spacing_mm: float, cache_dir: str | Path, modality: str
    ) -> None:
        self.name = name
        self.initial = initial
        self.spacing_mm = spacing_mm
        self.modality = modality
        self.alignments = AlignmentCache(cache_dir)
        self.image, _ = self._cleaned(image, name)

    def align(self, image: Volume, name: str) -> np.ndarray:
        """Align an image to the template.

        Args:
            image: image to align.
            name: its name in error messages; the template itself has that of the template.

        Returns:
            The 4x4 matrix from the world of the template to that of the image, in mm, RAS.

        Raises:
            InputError: if the image cannot be aligned, see `sacb_bundle.spatial.align`.
        """
        if name == self.name:
            return np.eye(4)
        return self.alignments.align(self.image, self._cleaned(image, name)[0], self.initial)

    def mean(self, images: Iterable[tuple[Volume, str]], grid: Grid) -> Volume:
        """Align images to the template, and average them.

        Alignments to one subject follow its shape, so that the others lie less well on each other than if they are
        aligned to the mean.

        Args:
            images: images of one kind, with their names as in `align`.
            grid: grid of the mean, in the world of the template.

        Returns:
            The mean: of CT in Hounsfield units, of others from 0 to 1.

        Raises:
            InputError: if an image cannot be aligned, is constant or almost empty.
        """
        total, number = np.zeros(grid.shape), 0
        for number, (image, name) in enumerate(images, start=1):
            placed = resample(Transform(self.align(image, name)), grid, [self._comparable(image, name)])
            total += placed.images[0].values
            logger.info("template, subject %d: %s", number, name)
        return Volume((total / number).astype(np.float32), grid)

    def _comparable(self, image: Volume, name: str) -> Volume:
        """Clean an image as for its alignment, and scale it so that images of one kind can be averaged."""
        cleaned, modality = self._cleaned(image, name)
        return cleaned if modality in CT_MODALITIES else Volume(scale(cleaned.values, modality, name), cleaned.grid)

    def _cleaned(self, image: Volume, name: str) -> tuple[Volume, str]:
        """Average an image, give its background the lowest intensity, and clip outliers; return its modality, too."""
        image = averaged(canonical(image), self.spacing_mm)
        appearance = appearance_of(image.values, self.modality, "auto", name)
        values = appearance.cleaned(image.values)
        if appearance.modality in CT_MODALITIES:  # air would take up most of the histogram
            values = values.clip(*SOFT_TISSUE_HU)
        return Volume(values, image.grid), appearance.modality
