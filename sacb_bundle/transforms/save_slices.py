"""Write pictures of one slice of a registration, to compare it with others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.transforms import Transform as MonaiTransform

from ..files import whole_file
from ..intensities import scale
from ..quality import draw_slices
from ..spatial import Volume


class SaveSlicesd(MonaiTransform):
    """Write fixed.png, moving.png, warped.png and grid.png of "registration", see `sacb_bundle.quality.draw_slices`.

    Args:
        folder: folder of the pictures.
        pairs: ids of the pairs to draw, each into a folder of this name.
    """

    def __init__(self, folder: str | Path, pairs: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.pairs = pairs

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the pictures, and return the data unchanged.

        Raises:
            InputError: if a file cannot be written.
        """
        if data["id"] in self.pairs:
            result = data["registration"]
            images = {}
            for role, image in result.prepared.sources.items():
                values = scale(image.values, result.prepared.appearances[role].modality, role)
                images[role] = Volume(values, image.grid)
            for name, picture in draw_slices(images["fixed"], images["moving"], result.transform).items():
                with whole_file(self.folder / data["id"] / f"{name}.png") as unfinished:
                    picture.save(unfinished)
        return dict(data)
