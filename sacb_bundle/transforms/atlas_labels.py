"""The labels of an atlas on a scan."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from ..spatial import check_label_interpolation, read_grid, read_label_map, resample
from .registration import registration


class AtlasLabelsd(Transform):
    """Replace "pred", the field of a registered pair, by the moving labels, warped onto the fixed image's own grid.

    "pred" is a `MetaTensor` (1, D, H, W) then, of uint8, or of uint16 or uint32 for labels above 255 or 65535.
    "image_meta_dict" tells the fixed image's "spatial_shape" and "original_affine" (RAS, mm), by which MONAI Label
    writes it; "image", the pair on the working grid, is left out, for MONAI Label would take the geometry from there.

    Args:
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.

    Raises:
        InputError: if the interpolation is neither.
    """

    def __init__(self, label_interpolation: str = "nearest") -> None:
        check_label_interpolation(label_interpolation)
        self.label_interpolation = label_interpolation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Warp the labels."""
        fixed = read_grid(data["fixed"])
        moving = [read_label_map(data["moving_labels"])]
        labels = resample(
            registration(data), fixed, labels=moving, label_interpolation=self.label_interpolation
        ).labels[0]
        affine = torch.from_numpy(fixed.affine)
        return {
            **{key: value for key, value in data.items() if key != "image"},
            "pred": MetaTensor(torch.from_numpy(labels.values)[None], affine=affine),
            "image_meta_dict": {"spatial_shape": fixed.shape, "original_affine": fixed.affine},
        }
