"""The grid that all training subjects share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..checks import check_spacing
from ..intensities import check_modality
from ..spatial import (
    Transform,
    Volume,
    averaged,
    canonical,
    check_initial,
    check_same_grid,
    foreground,
    read_grid,
    read_image,
    resample,
    working_grid,
)
from .template import Template

# Number of subjects whose mean the others are aligned to: more would take longer, and hardly change it.
MOST_AVERAGED = 20

logger = logging.getLogger(__name__)


class CommonGrid:
    """Grid to which all subjects are brought.

    Subjects that share a grid are assumed to be aligned, and keep it. Otherwise, each is aligned to the mean of the
    first few, which are aligned to the first, and interpolated on the first one's working grid.

    Args:
        paths: images of all subjects.
        initial: type of the alignment, see `sacb_bundle.spatial.align`; "none" if the subjects must share a grid.
        spacing_mm: spacing of the working grid.
        size_divisor: number by which each size of the working grid must be divisible.
        cache_dir: folder where alignments are kept for the next run.
        modality: "auto", or the modality of all images, see `sacb_bundle.intensities`.

    Attributes:
        grid: working grid of the first subject; None if the subjects share a grid.
        spacing_mm: spacing of the subjects afterwards; for a shared grid, the geometric mean over its axes.

    Raises:
        InputError: if an argument is invalid, `initial` is "none" and the subjects do not share a grid, or an image is
            invalid.
    """

    def __init__(
        self,
        paths: Sequence[str],
        initial: str,
        spacing_mm: float,
        size_divisor: int,
        cache_dir: str | Path,
        modality: str = "auto",
    ) -> None:
        check_initial(initial)
        check_spacing(spacing_mm)
        check_modality(modality)
        self.spacing_mm = float(spacing_mm)
        self.grid = None
        grids = [read_grid(path) for path in paths]
        if all(grid.coincides_with(grids[0]) for grid in grids):
            if grids:
                self.spacing_mm = float(np.prod(grids[0].spacing) ** (1 / 3))
                check_spacing(self.spacing_mm, f"{paths[0]}: the mean spacing")
            return
        if initial == "none":
            for path, grid in zip(paths, grids, strict=True):
                check_same_grid(path, grid, paths[0], grids[0])
        settings = (initial, self.spacing_mm, cache_dir, modality)
        first = Template(read_image(paths[0]), paths[0], *settings)
        self.grid = working_grid(foreground(first.image), self.spacing_mm, size_divisor)
        averaged_ones = paths[:MOST_AVERAGED]
        logger.warning(
            "The subjects do not share a grid, so each is aligned (%s) to the mean of %d of them on %s, and "
            "interpolated on %s.", initial, len(averaged_ones), paths[0], self.grid,
        )  # fmt: skip
        mean = first.mean(((read_image(path), path) for path in averaged_ones), self.grid)
        self.template = Template(mean, "mean of the subjects", *settings)

    def place(self, image: Volume, label_maps: Sequence[Volume], name: str) -> list[Volume]:
        """Bring a subject to the common grid.

        Args:
            image: image of the subject.
            label_maps: its label maps (int32), on the grid of the image.
            name: name of the image in error messages.

        Returns:
            The image and the label maps, with axes closest to RAS.

        Raises:
            InputError: if the image cannot be aligned, see `sacb_bundle.spatial.align`.
        """
        image, *label_maps = (canonical(volume) for volume in (image, *label_maps))
        if self.grid is None:
            return [image, *label_maps]
        image = averaged(image, self.spacing_mm)
        placed = resample(Transform(self.template.align(image, name)), self.grid, [image], label_maps)
        return [*placed.images, *placed.labels]
