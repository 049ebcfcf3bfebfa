"""Intensities as the network knows them."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.transforms import ScaleIntensityRange, ScaleIntensityRangePercentiles, Transform

from ..errors import InputError

MODALITIES = ("auto", "ct", "mr")
# No MR image and no CT that was shifted to positive numbers has voxels below this; the air around a body in a CT does.
CT_BELOW = -500.0

logger = logging.getLogger(__name__)


class ScaleIntensityByModalityd(Transform):
    """Scale a pair's intensities to [0, 1], each image by itself, and add the "modality" of "moving" and "fixed".

    MR: from the minimum to the 99.9th percentile. CT: from -1000 to 1000 HU. A warning says if the network was trained
    on the other.

    Args:
        key: (2, D, H, W), moving and fixed.
        modality: "ct", "mr", or "auto": CT if any voxel lies below -500.
        trained_on: "ct" or "mr", what the network was trained on.

    Raises:
        InputError: if the modality is none of these, or an MR image holds next to nothing but its minimum.
    """

    def __init__(self, key: str, modality: str, trained_on: str) -> None:
        if modality not in MODALITIES:
            raise InputError(f"modality is {modality!r}; it must be one of {', '.join(MODALITIES)}.")
        self.key = key
        self.modality = modality
        self.trained_on = trained_on
        self.scale = {
            "mr": ScaleIntensityRangePercentiles(lower=0, upper=99.9, b_min=0, b_max=1, clip=True),
            "ct": ScaleIntensityRange(a_min=-1000, a_max=1000, b_min=0, b_max=1, clip=True),
        }

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale both images."""
        scaled, modalities = [], {}
        for name, image in zip(("moving", "fixed"), data[self.key], strict=True):
            modality = self.modality
            if modality == "auto":
                modality = "ct" if image.min() < CT_BELOW else "mr"
                logger.info("%s: the %s image is taken for %s", data["id"], name, modality.upper())
            scaled.append(self.scale[modality](image))
            if scaled[-1].max() > 1:  # MONAI leaves an image unscaled whose range is empty
                raise InputError(
                    f"{data['id']}: the {name} image shows next to nothing: 99.9 % of what is registered has its "
                    "lowest value. Crop it to what is to be registered."
                )
            modalities[name] = modality
        if set(modalities.values()) != {self.trained_on}:
            logger.warning(
                "%s: the network was trained on %s. The field may be worse than the alignment alone (initial.tfm); "
                "compare them.",
                data["id"], self.trained_on.upper(),
            )  # fmt: skip
        return {**data, self.key: torch.stack(scaled), "modality": modalities}
