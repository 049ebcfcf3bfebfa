"""Subjects of any geometry on one grid."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from ..data.checks import check_same_grid
from ..networks.sacb_net import SIZE_DIVISOR
from ..spatial import Grid, Volume, align, averaged, foreground, read_grid, read_image, resample, working_grid
from ..spatial import Transform as SpatialTransform

logger = logging.getLogger(__name__)


class ToCommonGridd(Transform):
    """Bring subjects to one grid, where they do not share one: each aligned to the first, on its working grid.

    It works on "image" and, if present, "label", `MetaTensor` (1, D, H, W). Of subjects that share a grid it changes
    nothing, for they are taken as aligned.

    Args:
        subjects: all of them, each with the path "image".
        initial: alignment, see `sacb_bundle.spatial.align`; "none" if the subjects must share a grid.
        spacing: of the common grid in mm.

    Raises:
        InputError: if the initial alignment is "none", and they do not share a grid.
    """

    def __init__(self, subjects: Sequence[Mapping[str, str]], initial: str, spacing: float) -> None:
        self.initial = initial
        self.spacing = float(spacing)
        self.reference: Volume | None = None
        paths = [subject["image"] for subject in subjects]
        grids = [read_grid(path) for path in paths]
        if all(grid.coincides_with(grids[0]) for grid in grids):
            return
        if initial == "none":
            for path, grid in zip(paths, grids, strict=True):
                check_same_grid(path, grid, paths[0], grids[0])
        self.reference = averaged(read_image(paths[0]), self.spacing)
        self.grid = working_grid(foreground(self.reference), self.spacing, SIZE_DIVISOR)
        logger.warning(
            "The subjects do not share a grid: each is aligned to %s (%s) and interpolated on %s.",
            paths[0], initial, self.grid,
        )  # fmt: skip

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Align and interpolate."""
        if self.reference is None:
            return dict(data)
        image = averaged(volume_of(data["image"]), self.spacing)
        labels = [volume_of(data["label"], np.int32)] if "label" in data else []
        initial = SpatialTransform(align(self.reference, image, self.initial))
        result = resample(initial, self.grid, [image], labels)
        affine = torch.from_numpy(self.grid.affine)
        values = dict(zip(("image", "label"), (*result.images, *result.labels), strict=False))
        tensors = {key: torch.from_numpy(volume.values.astype(np.float32))[None] for key, volume in values.items()}
        return {**data, **{key: MetaTensor(tensor, affine=affine) for key, tensor in tensors.items()}}


def volume_of(tensor: MetaTensor, dtype: type[np.generic] = np.float32) -> Volume:
    """Volume of a tensor (1, D, H, W)."""
    values = tensor.numpy()[0].astype(dtype)
    return Volume(values, Grid(values.shape, tensor.affine.numpy()))
