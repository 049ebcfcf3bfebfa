"""Write a registration."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from monai.transforms import Transform as MonaiTransform

from ..registration.outputs import check_formats, write_outputs


class SaveRegistrationd(MonaiTransform):
    """Write "registration" into "folder", see `sacb_bundle.registration.outputs`.

    Args:
        formats: optional outputs to write in addition.

    Raises:
        InputError: if a format is unknown.
    """

    def __init__(self, formats: Sequence[str] = ()) -> None:
        check_formats(formats)
        self.formats = list(formats)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the registration, and return the data unchanged."""
        write_outputs(data["registration"], data["folder"], self.formats)
        return dict(data)
