"""The grid that all training subjects share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_spacing
from ..errors import InputError
from ..intensities import check_modality
from ..spatial import (
    AlignmentCache,
    Transform,
    Volume,
    averaged,
    canonical,
    check_initial,
    foreground,
    motion,
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

    Subjects that share a grid are assumed to be aligned, and keep it. Otherwise, each is aligned to the mean of some of
    them, which are aligned to the first of these, and interpolated on its working grid.

    Args:
        paths: images of all subjects.
        template_paths: those whose mean all are aligned to, at most the first 20; a single one is taken as it is.
        initial: type of the alignment, see `sacb_bundle.spatial.align`; "none" if the subjects must share a grid.
        spacing_mm: spacing of the working grid.
        size_divisor: number by which each size of the working grid must be divisible.
        cache_dir: folder where alignments are kept for the next run.
        modality: "auto", or the modality of all images, see `sacb_bundle.intensities`.

    Attributes:
        grid: working grid of the first one; None if the subjects share a grid.
        spacing_mm: spacing of the subjects afterwards; for a shared grid, the geometric mean over its axes.

    Raises:
        InputError: if an argument is invalid, `initial` is "none" and the subjects do not share a grid, or an image is
            invalid.
    """

    def __init__(
        self,
        paths: Sequence[str],
        template_paths: Sequence[str],
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
            check_shared_grid(paths)
        self._averaged = list(dict.fromkeys(template_paths))[:MOST_AVERAGED]
        first, alignments = self._averaged[0], AlignmentCache(cache_dir)
        self._first = Template.of(read_image(first), first, initial, self.spacing_mm, alignments, modality)
        self.grid = working_grid(foreground(self._first.image), self.spacing_mm, size_divisor)
        number = len(self._averaged)
        logger.warning(
            "The subjects do not share a grid, so each is aligned (%s) to %s and interpolated on %s.",
            initial, first if number == 1 else f"the mean of {number} of them on {first}", self.grid,
        )  # fmt: skip

    @cached_property
    def _template(self) -> Template:
        """The image that all subjects are aligned to, made when the first is placed."""
        if len(self._averaged) == 1:
            return self._first
        grid: Any = self.grid
        mean = self._first.mean(((read_image(path), path) for path in self._averaged), grid)
        return replace(self._first, image=mean, name="mean of the subjects")

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
        initial = self._template.align(image, name)
        logger.info("%s: shift %.1f mm, rotation %.1f degrees, scale %.3f", name, *motion(initial, self.grid).values())
        placed = resample(Transform(initial), self.grid, [image], label_maps)
        return [*placed.images, *placed.labels]


def check_shared_grid(paths: Sequence[str]) -> None:
    """Check that images share a grid, by their headers.

    Args:
        paths: images.

    Raises:
        InputError: if they do not; names the first that differs.
    """
    grids = [read_grid(path) for path in paths]
    for path, grid in zip(paths, grids, strict=True):
        if not grid.coincides_with(grids[0]):
            raise InputError(
                f"{path} and {paths[0]} do not share a grid, as they must without an alignment; prepare the data set "
                "(sacb prepare), or, if there is only one, set initial to affine."
            )
