"""Read and prepare a pair for the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform as MonaiTransform

from ..registration.pair import as_pair
from ..registration.prepare import Settings, prepare
from ..spatial import AlignmentCache, align


class PreparePaird(MonaiTransform):
    """Read the files of a pair, and prepare it for the network, see `sacb_bundle.registration.prepare`.

    It reads the paths "fixed" and "moving", and optionally "fixed_labels", "moving_labels", "fixed_mask" and
    "moving_mask". It adds "image" (2, D, H, W) fp32 in [0, 1], moving and fixed on the working grid; "pair" and
    "prepared".

    Args:
        cache_dir: folder where alignments are kept for the next run; by default, they are not kept.
        settings: further arguments, those of `sacb_bundle.registration.prepare.Settings`.
    """

    def __init__(self, cache_dir: str | Path | None = None, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.align = align if cache_dir is None else AlignmentCache(cache_dir).align

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the items."""
        pair = as_pair(data)
        prepared = prepare(pair, self.settings, self.align)
        return {**data, "image": torch.from_numpy(prepared.images), "pair": pair, "prepared": prepared}
