"""What tells a good registration from one that deserves a look."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import torch
from monai.transforms import Transform

from ..errors import InputError
from ..metrics import LABEL_SCORES, folding_percentage, score_labels
from ..ops import local_ncc, warp
from ..spatial import Grid, read_grid, read_label_map, resample, round_trip_error
from ..spatial import Transform as SpatialTransform

# Share of the scaled intensities above which a voxel is not background.
FOREGROUND = 0.05
# In voxels of the working grid: farther from itself, a place is not inverted.
LARGEST_INVERSE_ERROR = 0.5
LATTICE = 16
LARGEST_NUMBER_OF_LABELS = 1000
# In voxels, between places at which the similarity is taken.
STEP = 2


class MeasureRegistrationd(Transform):
    """Add "measures" of a registered pair, and "warped": the moving image (1, D, H, W) on the working grid, warped.

    On the working grid, "before" after the initial alignment alone, "after" with the displacement field:

    - similarity_before, similarity_after: local normalised cross-correlation (window 9), mean over every second voxel
      of the fixed image that is not background;
    - folding_percent: of the displacement field, see `sacb_bundle.metrics`;
    - displacement_mean_mm, displacement_max_mm, and displacement_border_mm, the largest on the faces of the grid;
    - inverse_failed_percent: of 16 x 16 x 16 places, those that transform and inverse take more than half a voxel away;
    - alignment_shift_mm, alignment_turn_degrees, alignment_scale; fixed_modality, moving_modality: "mr" or "ct";
    - fixed_deciles, moving_deciles: of the scaled intensities that are not background;
    - fixed_spacing, moving_spacing: of the images' own voxels, in mm; spacing: of the working grid.

    On the fixed image's own grid, where both images have label maps, mean over the labels that both hold:

    - dice_before, dice_after, hd95_before, hd95_after, assd_before, assd_after (mm);
    - labels: the same for each label; left_out and vanished: see `sacb_bundle.metrics.score_labels`.

    It reads what `sacb_bundle.transforms.SaveRegistrationd` reads and adds.

    Args:
        labels: values to score; None for all that occur in the fixed label map.
        label_interpolation: of the moving labels "before", as of those that are warped.

    Raises:
        InputError: if the fixed label map holds more than 1000 values.
    """

    def __init__(self, labels: Sequence[int] | None = None, label_interpolation: str = "nearest") -> None:
        self.labels = labels
        self.label_interpolation = label_interpolation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Measure."""
        image = data["image"].as_subclass(torch.Tensor).float()
        field = data["pred"].as_subclass(torch.Tensor).float()
        with torch.no_grad():
            warped = warp(image[None, :1], field[None])[0]
        measures = {
            **of_similarity(image[:1], warped, image[1:]),
            **of_displacement(data["transform"], field),
            **{f"alignment_{name}": float(value) for name, value in data["alignment"].items()},
            **{f"{role}_modality": data["modality"][role] for role in ("moving", "fixed")},
            **{f"{role}_deciles": deciles(values) for role, values in zip(("moving", "fixed"), image, strict=True)},
            **{f"{role}_spacing": list(read_grid(data[role]).spacing) for role in ("moving", "fixed")},
        }
        if "fixed_labels" in data and "moving_labels" in data:
            measures |= self.of_labels(data)
        return {**data, "measures": measures, "warped": warped}

    def of_labels(self, data: Mapping[Hashable, Any]) -> dict[str, Any]:
        """Scores of the labels."""
        fixed = read_label_map(data["fixed_labels"])
        transform = SpatialTransform(data["transform"].affine)
        moving = [data["moving_labels"]]
        before = resample(transform, fixed.grid, labels=moving, label_interpolation=self.label_interpolation).labels[0]
        labels = self.labels or [int(label) for label in np.unique(fixed.values) if label]
        if len(labels) > LARGEST_NUMBER_OF_LABELS:
            raise InputError(f"{data['fixed_labels']}: holds {len(labels)} different values; is it a label map?")
        scores = score_labels(fixed.values, before.values, data["warped_labels"].values, labels, fixed.grid.spacing)
        rows = [asdict(row) for row in scores.labels]
        means = {}
        for name in LABEL_SCORES:
            # Before and after over the same labels: one that vanished has no distance after.
            measured = [row for row in rows if name.startswith("dice") or row["hd95_after"] is not None]
            means[name] = fmean(row[name] for row in measured) if measured else None
        return {**means, "labels": rows, "left_out": list(scores.left_out), "vanished": list(scores.vanished)}


def of_similarity(moving: torch.Tensor, warped: torch.Tensor, fixed: torch.Tensor) -> dict[str, float]:
    """Similarity to the fixed image (1, D, H, W) before and after registration."""
    shown = (fixed > FOREGROUND)[None, :, ::STEP, ::STEP, ::STEP]
    if not shown.any():
        return {"similarity_before": 0.0, "similarity_after": 0.0}
    with torch.no_grad():
        return {
            f"similarity_{when}": float(local_ncc(image[None], fixed[None], step=STEP)[shown].mean())
            for when, image in (("before", moving), ("after", warped))
        }


def of_displacement(transform: SpatialTransform, field: torch.Tensor) -> dict[str, float]:
    """Measures of a field (3, D, H, W) in voxels, and of the transform made of it."""
    assert transform.displacement is not None
    grid: Grid = transform.displacement.grid
    lengths = transform.displacement.vectors.square().sum(dim=0).sqrt()  # by `norm`, it takes ten times as long
    border = max(float(lengths.select(axis, place).max()) for axis in range(3) for place in (0, -1))
    error = round_trip_error(transform, grid.lattice(LATTICE))
    return {
        "spacing": float(grid.spacing[0]),
        "folding_percent": folding_percentage(field),
        "displacement_mean_mm": float(lengths.mean()),
        "displacement_max_mm": float(lengths.max()),
        "displacement_border_mm": border,
        "inverse_failed_percent": 100 * float((~(error <= LARGEST_INVERSE_ERROR * min(grid.spacing))).mean()),
    }


def deciles(image: torch.Tensor) -> list[float]:
    """The nine deciles of what is not background in an image scaled to [0, 1]; empty if all is."""
    values = image[image > FOREGROUND].cpu().numpy()
    return [round(float(value), 4) for value in np.quantile(values, np.arange(1, 10) / 10)] if values.size else []
