"""Restrict label maps of a registered pair to its masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..ops import warp


class WithinMasksd(MapTransform):
    """Set label maps (1, D, H, W) to 0 outside the fixed mask, and outside the moving mask after the warp.

    Nothing changes if there are no masks.

    Args:
        keys: keys of the label maps, those of the fixed and of the warped image.
        field_key: key of the displacement field (3, D, H, W), in voxels.
        masks_key: key of the masks (2, D, H, W) of the moving and the fixed image, 0 where an image does not count.
        allow_missing_keys: whether to skip absent label maps instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        field_key: str = "pred",
        masks_key: str = "masks",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.field_key = field_key
        self.masks_key = masks_key

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Restrict the label maps."""
        result = dict(data)
        if self.masks_key not in result:
            return result
        field = result[self.field_key].as_subclass(torch.Tensor)
        moving, fixed = result[self.masks_key].as_subclass(torch.Tensor).to(field.device).split(1)
        shown = fixed * warp(moving[None], field[None], "nearest")[0]
        for key in self.key_iterator(result):
            result[key] = result[key] * shown.to(result[key].device)
        return result
