"""Warp images and label maps by a predicted displacement field."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from ..ops import warp


class Warpd(MapTransform):
    """Warp items by a displacement field, each into an item with another key.

    Voxels sampled from outside the item get the minimum of an image (air in a CT, not water), or 0 in a label map.

    Args:
        keys: keys of the items to warp, each (C, D, H, W) on the grid of the field.
        field_key: key of the displacement field (3, D, H, W), in voxels.
        output_keys: keys of the warped items, one for each of `keys`; their tensors are on the field's device.
        mode: "bilinear" for images or "nearest" for label maps; one for all, or one for each of `keys`.
        allow_missing_keys: whether to skip absent keys instead of raising an error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        field_key: str,
        output_keys: KeysCollection,
        mode: str | tuple[str, ...],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.field_key = field_key
        self.output_keys = ensure_tuple_rep(output_keys, len(self.keys))
        self.mode = ensure_tuple_rep(mode, len(self.keys))

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        """Add the warped items."""
        result = dict(data)
        field = result[self.field_key][None]
        for key, output_key, mode in self.key_iterator(result, self.output_keys, self.mode):
            moving = result[key]
            values = torch.as_tensor(moving, device=field.device).as_subclass(torch.Tensor).float()
            outside = 0 if mode == "nearest" else values.min()
            warped = warp((values - outside)[None], field, mode)[0] + outside
            meta = moving.meta if isinstance(moving, MetaTensor) else None
            result[output_key] = warped if meta is None else MetaTensor(warped, meta=meta)
        return result
