"""The image that the subjects of a data set are aligned to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..intensities import appearance_of, scale
from ..spatial import AlignmentCache, Volume, averaged, canonical

# Range in which the organs of a CT differ. Air below it would take up most of the histogram.
SOFT_TISSUE_HU = (-160.0, 300.0)


class Template:
    """Image that others are aligned to.

    Args:
        image: the image.
        name: its name in error messages.
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
        self.initial = initial
        self.spacing_mm = spacing_mm
        self.modality = modality
        self.alignments = AlignmentCache(cache_dir)
        self.image, _ = self._cleaned(image, name)

    def align(self, image: Volume, name: str) -> np.ndarray:
        """Align an image to the template.

        Args:
            image: image to align.
            name: its name in error messages.

        Returns:
            The 4x4 matrix from the world of the template to that of the image, in mm, RAS.

        Raises:
            InputError: if the image cannot be aligned, see `sacb_bundle.spatial.align`.
        """
        return self.alignments.align(self.image, self._cleaned(image, name)[0], self.initial)

    def comparable(self, image: Volume, name: str) -> Volume:
        """Clean an image as for its alignment, and scale it so that images of one kind can be averaged.

        Args:
            image: the image.
            name: its name in error messages.

        Returns:
            The image, averaged for the grid: a CT in Hounsfield units, another one from 0 to 1.

        Raises:
            InputError: if the image is constant or almost empty.
        """
        cleaned, modality = self._cleaned(image, name)
        return cleaned if modality == "ct" else Volume(scale(cleaned.values, modality, name), cleaned.grid)

    def _cleaned(self, image: Volume, name: str) -> tuple[Volume, str]:
        """Average an image, give its background the lowest intensity, and clip outliers; return its modality, too."""
        image = averaged(canonical(image), self.spacing_mm)
        appearance = appearance_of(image.values, self.modality, "auto", name)
        values = appearance.cleaned(image.values)
        if appearance.modality == "ct":
            values = values.clip(*SOFT_TISSUE_HU)
        return Volume(values, image.grid), appearance.modality
