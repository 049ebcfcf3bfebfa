"""What a registration found."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch

from ..errors import InputError
from ..spatial import DisplacementField, Grid, Transform


def registration(data: Mapping[Hashable, Any]) -> Transform:
    """The transform of a pair, alignment and displacement field.

    Args:
        data: with "id", "pred" (3, D, H, W), the field in voxels, and what `ToWorkingGridd` adds.

    Raises:
        InputError: if the field is not finite.
    """
    field = data["pred"].as_subclass(torch.Tensor).float()
    if not field.isfinite().all():
        raise InputError(
            f"{data['id']}: the network gave displacements that are NaN or infinite; are its weights whole, and "
            "made for such images?"
        )
    working = Grid(tuple(field.shape[1:]), data["working_affine"].numpy())
    return Transform(data["initial_affine"].numpy(), DisplacementField.from_voxels(field, working))
