"""Scale intensities for the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..registration.intensities import check_modality, modality_of, scale


class ScaleIntensityd(MapTransform):
    """Scale images (1, D, H, W) to [0, 1] by the rule of a modality, see `sacb_bundle.registration.intensities`.

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
            image = result[key].as_subclass(torch.Tensor).numpy()
            result["modality"] = modality_of(image, self.modality, "auto")
            result[key] = torch.from_numpy(scale(image, result["modality"], str(data.get("path", key))))
        return result
