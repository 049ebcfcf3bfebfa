"""Read a training subject, and bring it to the grid of the others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform as MonaiTransform

from ..data import CommonGrid
from ..spatial import as_mask, check_same_grid, read_image, read_label_map, read_volume


class PrepareSubjectd(MonaiTransform):
    """Read the paths "image", "label" and "mask" into fp32 tensors (1, D, H, W), on the grid of all subjects.

    Label map and mask may be absent. "path" and "mask_path" are the paths of image and mask.

    Args:
        subjects: all subjects, each with the path "image".
        template_subjects: those whose mean all are aligned to, see `sacb_bundle.data.CommonGrid`.
        cache_dir: folder where alignments are kept for the next run.
        settings: further arguments of `sacb_bundle.data.CommonGrid`.

    Attributes:
        settings: those arguments.
        spacing_mm: spacing of the resulting grid.

    Raises:
        InputError: as `CommonGrid`.
    """

    def __init__(
        self,
        subjects: Sequence[Mapping[str, str]],
        template_subjects: Sequence[Mapping[str, str]],
        cache_dir: str | Path,
        **settings: Any,
    ) -> None:
        self.settings = settings
        paths, template_paths = ([subject["image"] for subject in some] for some in (subjects, template_subjects))
        self._common_grid = CommonGrid(paths, template_paths, cache_dir=cache_dir, **settings)
        self.spacing_mm = self._common_grid.spacing_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Read a subject, and align it if necessary."""
        image = read_image(data["image"])
        maps = {"label": read_label_map(data["label"])} if "label" in data else {}
        if "mask" in data:
            mask = as_mask(read_volume(data["mask"]), data["mask"])
            maps["mask"] = replace(mask, values=(mask.values != 0).astype(np.int32))
        for key, volume in maps.items():
            check_same_grid(data[key], volume.grid, data["image"], image.grid)
        image, *placed = self._common_grid.place(image, list(maps.values()), data["image"])
        maps = dict(zip(maps, placed, strict=True))
        arrays = {
            key: np.ascontiguousarray(volume.values, dtype=np.float32)[None]
            for key, volume in {"image": image, **maps}.items()
        }
        result: dict[Hashable, Any] = {**data, "path": data["image"]}
        if "mask" in data:
            result["mask_path"] = data["mask"]
        return result | {key: torch.from_numpy(array) for key, array in arrays.items()}
