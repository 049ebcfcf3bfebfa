"""Transfer the labels of an atlas to a scan."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Transform as MonaiTransform


class AtlasLabelsd(MonaiTransform):
    """Replace "pred", the field of "registration", by the warped moving label map on the fixed image's grid.

    "pred" becomes a `MetaTensor` (1, D, H, W) of uint8, or of uint16 or uint32 for labels above 255 or 65535.
    "image_meta_dict" gets the fixed image's "spatial_shape" and "original_affine" (RAS, mm), with which MONAI Label
    writes the label map. "image", the pair on the working grid, is removed, since MONAI Label would use its geometry.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the field."""
        labels = data["registration"].warped_labels
        affine = torch.from_numpy(labels.grid.affine)
        return {
            **{key: value for key, value in data.items() if key not in ("image", "pair", "prepared", "registration")},
            "pred": MetaTensor(torch.from_numpy(labels.values)[None], affine=affine),
            "image_meta_dict": {"spatial_shape": labels.grid.shape, "original_affine": labels.grid.affine},
        }
