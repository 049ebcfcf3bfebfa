"""Let a request choose how its pair is refined."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.data import MetaTensor
from monai.transforms import Transform as MonaiTransform

from ..registration.refine import Refinement

OTHER_SETTINGS = ("similarity", "smoothness")


class RequestRefinementd(MonaiTransform):
    """Put the settings of a request's refinement into the metadata of "image", where the inferer finds them.

    The keys "refine", "similarity" and "smoothness" of the request replace the settings of the config. MONAI Label
    hands only the image to the inferer; in the config, text from a client could run as code.

    Args:
        refine: number of steps by default.
        similarity: similarity by default.
        smoothness: weight of the smoothness by default.

    Raises:
        InputError: if a value is invalid, see `sacb_bundle.registration.refine.Refinement`.
    """

    def __init__(self, refine: int, similarity: str = "auto", smoothness: float | None = None) -> None:
        self.default = Refinement(refine, similarity, smoothness)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the metadata."""
        steps = data.get("refine", self.default.steps)
        # Those of the config do not count if the request turns the refinement off.
        defaults = {name: getattr(self.default, name) for name in OTHER_SETTINGS} if steps else {}
        refinement = Refinement(steps, **defaults | {name: data[name] for name in OTHER_SETTINGS if name in data})
        return {**data, "image": MetaTensor(data["image"], meta={"refinement": refinement})}
