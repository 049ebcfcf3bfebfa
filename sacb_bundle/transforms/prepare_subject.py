"""Read a training subject, and bring it to the grid of the others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform as MonaiTransform

from ..data import CommonGrid
from ..spatial import check_same_grid, read_image, read_label_map

KEYS: tuple[Hashable, ...] = ("image", "label")


class PrepareSubjectd(MonaiTransform):
    """Read the paths "image" and, if present, "label" into fp32 tensors (1, D, H, W), on the grid of all subjects.

    Args:
        subjects: all subjects, each with the path "image".
        cache_dir: folder where alignments are kept for the next run.
        settings: further arguments of `sacb_bundle.data.CommonGrid`.

    Attributes:
        settings: those arguments.
        spacing_mm: spacing of the resulting grid.

    Raises:
        InputError: as `CommonGrid`.
    """

    def __init__(self, subjects: Sequence[Mapping[str, str]], cache_dir: str | Path, **settings: Any) -> None:
        self.settings = settings
        self._common_grid = CommonGrid([subject["image"] for subject in subjects], cache_dir=cache_dir, **settings)
        self.spacing_mm = self._common_grid.spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read a subject, and align it if necessary."""
        image = read_image(data["image"])
        label_maps = [read_label_map(data["label"])] if "label" in data else []
        for label_map in label_maps:
            check_same_grid(data["label"], label_map.grid, data["image"], image.grid)
        volumes = self._common_grid.place(image, label_maps, data["image"])
        arrays = [np.ascontiguousarray(volume.values, dtype=np.float32)[None] for volume in volumes]
        return {**data, **dict(zip(KEYS, map(torch.from_numpy, arrays), strict=False)), "path": data["image"]}
