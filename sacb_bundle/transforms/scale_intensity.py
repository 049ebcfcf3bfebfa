"""Scale intensities for the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..data import check_masks
from ..intensities import appearance_of, check_modality, scale


class ScaleIntensityd(MapTransform):
    """Scale images (1, D, H, W) to [0, 1] by the rule of a modality, see `sacb_bundle.intensities`.

    As in registration, an image with a "mask" (1, D, H, W) gets its lowest intensity where the mask is 0.

    Args:
        keys: keys of the images to scale.
        modality: "mr", "ct", another rule, or "auto" to choose between MR and CT for each image.

    Raises:
        InputError: if there is no such rule.
    """

    def __init__(self, keys: KeysCollection, modality: str) -> None:
        super().__init__(keys)
        check_modality(modality)
        self.modality = modality

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = result[key].as_subclass(torch.Tensor)[0].numpy()
            name = str(data.get("path", key))
            appearance = appearance_of(image, self.modality, "auto", name)
            result["modality"] = appearance.modality
            values = appearance.cleaned(image)
            if "mask" in result:
                mask = result["mask"].as_subclass(torch.Tensor)
                check_masks(mask, values.shape, str(data.get("mask_path", "mask")))
                values = np.where(mask[0].numpy() != 0, values, np.float32(appearance.darkest))
            result[key] = torch.from_numpy(scale(values, appearance.modality, name))[None]
        return result
