"""Read a training subject, and resample it to the grid of the others."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform as MonaiTransform

from .. import __version__
from ..errors import InputError
from ..networks.checkpoint import read_weights, write_whole
from ..spatial import (
    Transform,
    Volume,
    align,
    averaged,
    canonical,
    check_same_grid,
    foreground,
    read_grid,
    read_image,
    read_label_map,
    resample,
    working_grid,
)

logger = logging.getLogger(__name__)


class PrepareSubjectd(MonaiTransform):
    """Read the paths "image" and, if present, "label" into fp32 tensors (1, D, H, W), closest to RAS.

    Subjects that share a grid are taken as aligned and are not resampled. Otherwise each is aligned to the first, and
    interpolated on its working grid. Aligned subjects are cached in a folder, under a hash of everything they depend
    on, for the next run.

    Args:
        subjects: all subjects, each with the path "image".
        initial: alignment, see `sacb_bundle.spatial.align`; "none" if the subjects must share a grid.
        spacing_mm: spacing of the common grid.
        size_divisor: number by which each size must be divisible.
        cache_dir: folder of the aligned subjects.

    Attributes:
        spacing_mm: spacing of the resulting grid; for a shared grid, the geometric mean over its axes.

    Raises:
        InputError: if `initial` is "none", and the subjects do not share a grid.
    """

    def __init__(
        self,
        subjects: Sequence[Mapping[str, str]],
        initial: str,
        spacing_mm: float,
        size_divisor: int,
        cache_dir: str | Path,
    ) -> None:
        self.initial = initial
        self.spacing_mm = float(spacing_mm)
        self.cache_dir = Path(cache_dir)
        self.reference: Volume | None = None
        paths = [subject["image"] for subject in subjects]
        grids = [read_grid(path) for path in paths]
        if all(grid.coincides_with(grids[0]) for grid in grids):
            if grids:
                self.spacing_mm = float(np.prod(grids[0].spacing) ** (1 / 3))
            return
        if initial == "none":
            for path, grid in zip(paths, grids, strict=True):
                check_same_grid(path, grid, paths[0], grids[0])
        first = read_image(paths[0])
        self.reference = averaged(first, self.spacing_mm)
        self.reference_hash = first.sha256
        self.grid = working_grid(foreground(self.reference), self.spacing_mm, size_divisor)
        logger.warning(
            "The subjects do not share a grid, so each is aligned to %s (%s) and interpolated on %s.",
            paths[0], initial, self.grid,
        )  # fmt: skip

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read a subject, and align it if necessary."""
        image = read_image(data["image"])
        labels = [read_label_map(data["label"])] if "label" in data else []
        for label_map in labels:
            check_same_grid(data["label"], label_map.grid, data["image"], image.grid)
        tensors = self._as_stored(image, labels) if self.reference is None else self.kept(image, labels)
        return dict(data) | tensors | {"path": data["image"]}

    def _as_stored(self, image: Volume, labels: list[Volume]) -> dict[str, torch.Tensor]:
        """Flip and permute the axes of a subject so that they run closest to RAS.

        Args:
            image: image of the subject.
            labels: label map of the subject (int32, on the grid of the image) as the only element; empty if there is
                none.

        Returns:
            The tensors "image" and, if there is a label map, "label", each (1, D, H, W), fp32.
        """
        return _tensors_of([canonical(volume) for volume in (image, *labels)])

    def kept(self, image: Volume, labels: list[Volume]) -> dict[str, torch.Tensor]:
        """Return an aligned subject from the cache, or align and cache it.

        Args:
            image: image of the subject.
            labels: label map of the subject (int32, on the grid of the image) as the only element; empty if there is
                none.

        Returns:
            The tensors "image" and, if there is a label map, "label", each (1, D, H, W), fp32, on the common grid.

        Raises:
            InputError: if the images cannot be aligned, see `aligned`, or the cache cannot be written.
        """
        hashes = [self.reference_hash, image.sha256, *(label_map.sha256 for label_map in labels)]
        settings = [__version__, self.initial, self.spacing_mm, self.grid.shape, self.grid.affine.tolist()]
        key = hashlib.sha256(json.dumps([hashes, settings]).encode()).hexdigest()
        path = self.cache_dir / f"{key}.pt"
        with suppress(InputError):  # missing or damaged
            kept: dict[str, torch.Tensor] = read_weights(path)
            if kept.keys() == {"image", *(["label"] if labels else [])}:
                return kept
        tensors = self.aligned(image, labels)
        write_whole(tensors, path)
        return tensors

    def aligned(self, image: Volume, labels: list[Volume]) -> dict[str, torch.Tensor]:
        """Align a subject to the first, and interpolate it on the common grid.

        Args:
            image: image of the subject.
            labels: label map of the subject (int32, on the grid of the image) as the only element; empty if there is
                none.

        Returns:
            The tensors "image" and, if there is a label map, "label", each (1, D, H, W), fp32, on the common grid.

        Raises:
            ValueError: if the subjects share a grid, so that there is none to align to.
            InputError: if the alignment is unknown, an image is too small, or the aligned images hardly overlap.
        """
        if self.reference is None:
            raise ValueError("the subjects share a grid")
        image = averaged(image, self.spacing_mm)
        initial = Transform(align(self.reference, image, self.initial))
        result = resample(initial, self.grid, [image], labels)
        return _tensors_of([*result.images, *result.labels])


def _tensors_of(volumes: list[Volume]) -> dict[str, torch.Tensor]:
    """Return an image, and its label map if there is one, as fp32 tensors (1, D, H, W)."""
    arrays = [np.ascontiguousarray(volume.values, dtype=np.float32) for volume in volumes]
    return dict(zip(("image", "label"), (torch.from_numpy(array)[None] for array in arrays), strict=False))
