"""Label maps and masks of a prepared pair on its working grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform as MonaiTransform

from ..spatial import Transform, resample


class LabelsOnWorkingGridd(MonaiTransform):
    """Replace "fixed_labels" and "moving_labels", if both exist, by fp32 tensors (1, D, H, W) on the working grid.

    If the pair has masks, it adds them as "masks", fp32 (2, D, H, W), of the moving and the fixed image. It reads and
    removes "pair" and "prepared", see `PreparePaird`.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the label maps."""
        pair, prepared = data["pair"], data["prepared"]
        left_out = ("pair", "prepared", "fixed_labels", "moving_labels")
        rest = {key: value for key, value in data.items() if key not in left_out}
        kinds = {appearance.modality for appearance in prepared.appearances.values()}
        rest["modality"] = kinds.pop() if len(kinds) == 1 else "auto"
        if prepared.masks is not None:
            rest["masks"] = torch.from_numpy(prepared.masks.astype(np.float32))
        if pair.fixed_labels is None or pair.moving_labels is None:
            return rest
        for key, transform, labels in (
            ("fixed_labels", Transform(), pair.fixed_labels),
            ("moving_labels", Transform(prepared.initial), pair.moving_labels),
        ):
            values = resample(transform, prepared.grid, labels=[labels]).labels[0].values
            rest[key] = torch.from_numpy(values.astype(np.float32))[None]
        return rest
