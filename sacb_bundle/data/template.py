"""The image that the subjects of a data set are aligned to."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..intensities import appearance_of, in_hounsfield_units, scale
from ..spatial import AlignmentCache, Grid, Transform, Volume, averaged, canonical, resample

logger = logging.getLogger(__name__)

# CT is aligned and averaged within these limits, from fat to tissue with contrast agent: with more, air would take up
# most of the histogram.
SOFT_TISSUE_HU = (-160.0, 300.0)


@dataclass(frozen=True, eq=False)
class Template:
    """Image that others are aligned to.

    Attributes:
        image: the image, with a background of the lowest intensity and without outliers.
        name: its name in error messages, such as its path.
        initial: type of the alignments, see `sacb_bundle.spatial.align`.
        spacing_mm: spacing of the grid that aligned images will be sampled on.
        alignments: alignments that are kept for the next run.
        modality: "auto", or the modality of all images to align, see `sacb_bundle.intensities`.
    """

    image: Volume
    name: str
    initial: str
    spacing_mm: float
    alignments: AlignmentCache
    modality: str = "auto"

    @classmethod
    def of(
        cls, scan: Volume, name: str, initial: str, spacing_mm: float, alignments: AlignmentCache, modality: str
    ) -> Template:
        """Make a template of a scan.

        Args:
            scan: the scan.
            name: its name in error messages, such as its path.
            initial: see `Template`.
            spacing_mm: see `Template`.
            alignments: see `Template`.
            modality: see `Template`.

        Returns:
            The template, averaged for the grid, with axes closest to RAS; a CT is clipped to -160 to 300 HU.

        Raises:
            InputError: if the scan is constant.
        """
        return cls(_cleaned(scan, name, spacing_mm, modality)[0], name, initial, spacing_mm, alignments, modality)

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
        return self._align_cleaned(_cleaned(image, name, self.spacing_mm, self.modality)[0], name)

    def _align_cleaned(self, image: Volume, name: str) -> np.ndarray:
        """Align an image that is cleaned as the template is; the template itself stays where it is."""
        return np.eye(4) if name == self.name else self.alignments.align(self.image, image, self.initial)

    def mean(self, images: Iterable[tuple[Volume, str]], grid: Grid) -> Volume:
        """Align images to the template, and average them.

        Alignments to one subject follow its shape, so that the others lie less well on each other than if they are
        aligned to the mean.

        Args:
            images: images with their names, as in `align`.
            grid: grid of the mean, in the world of the template.

        Returns:
            The mean: of CT in Hounsfield units, from -160 to 300; of other or different kinds scaled to [0, 1].

        Raises:
            InputError: if an image cannot be aligned, is constant or almost empty.
        """
        total, modalities = np.zeros(grid.shape), []
        for number, (image, name) in enumerate(images, start=1):
            cleaned, modality = _cleaned(image, name, self.spacing_mm, self.modality)
            modalities.append(modality)
            scaled = Volume(_scaled(cleaned.values, modality, name), cleaned.grid)
            initial = self._align_cleaned(cleaned, name)
            total += resample(Transform(initial), grid, [scaled]).images[0].values
            logger.info("template, subject %d: %s", number, name)
        mean = total / len(modalities)
        if all(map(in_hounsfield_units, modalities)):
            mean = np.interp(mean, (0, 1), SOFT_TISSUE_HU)
        return Volume(mean.astype(np.float32), grid)


def _cleaned(scan: Volume, name: str, spacing_mm: float, modality: str) -> tuple[Volume, str]:
    """Average a scan, give its background the lowest intensity, and clip outliers; return its modality, too."""
    image = averaged(canonical(scan), spacing_mm)
    appearance = appearance_of(image.values, modality, "auto", name)
    values = appearance.cleaned(image.values)
    if in_hounsfield_units(appearance.modality):
        values = values.clip(*SOFT_TISSUE_HU)
    return Volume(values, image.grid), appearance.modality


def _scaled(values: np.ndarray, modality: str, name: str) -> np.ndarray:
    """Scale a cleaned image to [0, 1], fp32, so that images of different kinds count alike in a mean."""
    if in_hounsfield_units(modality):
        return np.interp(values, SOFT_TISSUE_HU, (0, 1)).astype(np.float32)
    return scale(values, modality, name)
