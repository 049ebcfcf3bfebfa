"""The result of a registration: the transform, and its applications."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import InputError
from ..files import check_path, real_path
from ..metrics import LabelMapScores
from ..ops import warp
from ..quality import (
    Views,
    displacement,
    draw,
    evidence_of,
    field_helps,
    in_view,
    lost_headers,
    round_trip,
    score_label_maps,
    similarity,
    summary_of_labels,
    verdict_of,
)
from ..results.record import write_record
from ..results.result_folder import ResultFolder
from ..spatial import (
    DisplacementField,
    Grid,
    Resampled,
    Transform,
    Volume,
    as_series,
    check_same_grid,
    checked_points,
    consistent_inverse,
    in_type_of,
    invert,
    made_diffeomorphic,
    motion,
    resample,
    series_in_type_of,
    source_name,
    warp_points,
    warp_series,
)
from .outputs import check_formats, is_result, write_outputs
from .pair import Pair, label_map_of
from .prepare import Prepared
from .refine import Refined

logger = logging.getLogger(__name__)


class Registration:
    """A registered pair, which a notebook shows as its picture.

    Args:
        pair: images on their own grids.
        prepared: pair on the working grid.
        field: displacement field (3, D, H, W) on the working grid, in voxels.
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.
        moving_source: moving image as given; `warped` has its type. By default, a `Volume`.
        weights: SHA-256 of the network's weights, for the record.
        refined: how the field was refined, for the measures; by default, not at all.
        diffeomorphic: whether to make the transform a diffeomorphism, see `sacb_bundle.spatial.made_diffeomorphic`.
        keep_field: whether to keep a displacement field that brings the images no closer.

    Attributes:
        transform: transform from fixed to moving world coordinates in mm, RAS: alignment and displacement field.
        alignment_alone: whether the displacement field was replaced by zeros because it brought the images no closer.

    Raises:
        InputError: if the field is not finite.
    """

    def __init__(
        self,
        pair: Pair,
        prepared: Prepared,
        field: torch.Tensor,
        *,
        label_interpolation: str = "nearest",
        moving_source: Any = None,
        weights: str = "",
        refined: Refined | None = None,
        diffeomorphic: bool = False,
        keep_field: bool = False,
    ) -> None:
        if not field.isfinite().all():
            raise InputError("The network predicted displacements that are NaN or infinite; are its weights intact?")
        self.pair = pair
        self.prepared = prepared
        self.diffeomorphic = diffeomorphic
        if diffeomorphic:
            displacement = made_diffeomorphic(DisplacementField.from_voxels(field, prepared.grid))
            field = displacement.in_voxels_of(prepared.grid)
        self.field = field
        self.label_interpolation = label_interpolation
        self.weights = weights
        self.refined = Refined(field) if refined is None else refined
        self.moving_source = pair.moving if moving_source is None else moving_source
        self.alignment_alone = not (keep_field or self._field_helps())
        if self.alignment_alone:
            self.field = torch.zeros_like(field)
            if self.refined.used:
                self.refined = replace(self.refined, reason="the alignment alone is better")
            del self.warped_on_working_grid
            logger.warning(
                "The displacement field brought the images no closer than the alignment alone, so the result is the "
                "alignment alone."
            )
        self.transform = Transform(prepared.initial, DisplacementField.from_voxels(self.field, prepared.grid))

    def __repr__(self) -> str:
        fixed, moving = self.pair.names
        return f"<Registration of {moving} onto {fixed}: {self.fixed_grid}>"

    def _field_helps(self) -> bool:
        """Tell whether the displacement field brings the images closer, see `sacb_bundle.quality.field_helps`."""
        moving, fixed = self.prepared.tensors(self.field.device)
        return field_helps(fixed, moving, self.warped_on_working_grid)

    @property
    def fixed_grid(self) -> Grid:
        """Grid of the fixed image and of all results."""
        return self.pair.fixed.grid

    @property
    def alignment(self) -> Transform:
        """Transform of the initial alignment alone."""
        return Transform(self.prepared.initial)

    @cached_property
    def resampled(self) -> Resampled:
        """The moving image, its label map and the complete transform on the fixed image's grid, from one pass."""
        labels = [] if self.pair.moving_labels is None else [self.pair.moving_labels]
        return resample(self.transform, self.fixed_grid, [self.pair.moving], labels, self.label_interpolation)

    @property
    def warped(self) -> Any:
        """The moving image on the fixed image's grid, in the type of the input (for a path, a nibabel image)."""
        return in_type_of(self.moving_source, self.resampled.images[0])

    @property
    def warped_labels(self) -> Any:
        """The moving label map on the fixed image's grid, or None."""
        return in_type_of(self.moving_source, self.resampled.labels[0]) if self.resampled.labels else None

    @cached_property
    def warped_on_working_grid(self) -> torch.Tensor:
        """The moving image (1, D, H, W) on the working grid, scaled to [0, 1] and warped."""
        moving = torch.from_numpy(self.prepared.images[:1]).to(self.field.device)
        with torch.no_grad():
            return warp(moving[None], self.field[None])[0]

    def warp(self, image: Any) -> Any:
        """Warp another image of the moving scan: 3-D, or with several volumes or channels, one at a time.

        Args:
            image: path or image in memory, on any grid that overlaps the moving image. A MONAI `MetaTensor` of several
                channels has them first.

        Returns:
            The image on the fixed image's grid, interpolated linearly, in the type of the input.

        Raises:
            InputError: if it is not a valid image, or the transform maps no part of the fixed image into it.
        """
        return self._carry(image, labels=False)

    def warp_labels(self, labels: Any) -> Any:
        """Warp a label map of the moving scan, see `warp`. Every voxel gets one of the label values.

        Args:
            labels: path or label map in memory, on any grid that overlaps the moving image.

        Returns:
            The label map on the fixed image's grid, in the type of the input; 0 outside the moving label map.

        Raises:
            InputError: if it is not a valid label map, or the transform maps no part of the fixed image into it.
        """
        return self._carry(labels, labels=True)

    def _carry(self, image: Any, labels: bool) -> Any:
        """Warp an image or a label map.

        Args:
            image: path or image in memory, as in `warp`.
            labels: whether the image is a label map.

        Returns:
            The image on the fixed image's grid, in the type of the input.

        Raises:
            InputError: as in `warp`.
        """
        role = "label" if labels else "further"
        series = as_series(image, role)
        self.transform.check_reach(self.fixed_grid, series.grid, source_name(image, role))
        frames = warp_series(self.transform, self.fixed_grid, series, labels, self.label_interpolation)
        return series_in_type_of(image, frames, self.fixed_grid, series.axes)

    def warp_points(self, points: np.ndarray) -> np.ndarray:
        """Map points from the moving image to the fixed image, in the direction in which images are warped.

        Args:
            points: world coordinates (N, 3) in the moving image, in mm, RAS.

        Returns:
            World coordinates (N, 3) in the fixed image, in mm, RAS.

        Raises:
            InputError: if a point has no counterpart in the fixed image.
        """
        return warp_points(self.transform, checked_points(points))

    def inverse(self) -> Transform:
        """Invert the transform.

        Returns:
            The transform from moving to fixed world coordinates in mm, RAS: a displacement field on the moving image's
            grid.
        """
        return Transform(displacement=self.inverse_displacement)

    @cached_property
    def inverse_displacement(self) -> DisplacementField:
        """The displacement field of `inverse`."""
        method = consistent_inverse if self.diffeomorphic else invert
        return method(self.transform, self.pair.moving.grid)

    def measures(
        self, fixed_labels: Any = None, moving_labels: Any = None, labels: Sequence[int] | None = None
    ) -> dict[str, Any]:
        """Measure images, displacement field and label maps, before and after registration.

        "before" is after the alignment alone, "after" with the displacement field.

        Args:
            fixed_labels: label map on the fixed image's grid; by default that of the pair.
            moving_labels: label map of the moving image; by default that of the pair.
            labels: label values to score; by default all of the fixed label map.

        Returns:
            - the measures of `similarity`, `displacement`, `round_trip`, `in_view`, `lost_headers`, `evidence_of` and,
              with both label maps, `summary_of_labels`, see `sacb_bundle.quality`;
            - alignment_shift_mm, alignment_turn_degrees, alignment_scale: shift, rotation and scale of the alignment;
            - uniform_scale: whether an affine alignment was given up for one with the same scale in all directions;
            - refine_steps, refined, refine_reason, refine_similarity, refine_best_step, loss_before, loss_after,
              loss_curve: the refinement, see `sacb_bundle.registration.refine.Refined`;
            - alignment_alone: whether the field was replaced by zeros because it brought the images no closer;
            - fixed_modality, fixed_background, fixed_range, and of moving: interpretation of the intensities;
            - fixed_spacing, fixed_extent, and of moving: spacing of the image and its lengths along its axes, in mm;
            - verdict: "good", "doubtful" or "failed", see `sacb_bundle.quality.verdict_of`.

        Raises:
            InputError: if a label map is invalid, or on the wrong grid.
        """
        scores = self.label_scores(fixed_labels, moving_labels, labels)
        measures = self._measures_of_images() | ({} if scores is None else summary_of_labels(scores))
        return measures | {"verdict": verdict_of(measures)}

    def _measures_of_images(self) -> dict[str, Any]:
        """Measure images and displacement field, see `measures`."""
        prepared = self.prepared
        grids = {"fixed": self.fixed_grid, "moving": self.pair.moving.grid}
        moving, fixed = prepared.tensors(self.field.device)
        modalities = {role: look.modality for role, look in prepared.appearances.items()}
        return {
            **similarity(moving, self.warped_on_working_grid, fixed),
            **displacement(self.transform, self.field),
            **evidence_of(prepared.volumes["fixed"], prepared.volumes["moving"], prepared.initial, prepared.sources),
            **{f"alignment_{name}": value for name, value in motion(prepared.initial, prepared.grid).items()},
            **in_view(prepared.sources["fixed"], prepared.sources["moving"], prepared.initial),
            **lost_headers(grids, modalities, prepared.initial),
            **prepared.facts,
            **self.refined.facts,
            **round_trip(self.transform, self.inverse_displacement if self.diffeomorphic else None, fixed),
            "alignment_alone": self.alignment_alone,
            **{f"{role}_spacing": list(grid.spacing) for role, grid in grids.items()},
            **{f"{role}_extent": list(grid.extent) for role, grid in grids.items()},
        }

    def label_scores(
        self, fixed_labels: Any = None, moving_labels: Any = None, labels: Sequence[int] | None = None
    ) -> LabelMapScores | None:
        """Score the label maps within the masks of the pair, see `measures`.

        Args:
            fixed_labels: label map on the fixed image's grid; by default that of the pair.
            moving_labels: label map of the moving image; by default that of the pair.
            labels: label values to score; by default all of the fixed label map.

        Returns:
            The scores of each label, or None if a label map is missing.

        Raises:
            InputError: if a label map is invalid or on the wrong grid, `labels` is not a list of label values, or there
                are more than 1000 labels to score.
        """
        fixed, moving = self.pair.fixed_labels, self.pair.moving_labels
        after = self.resampled.labels[0] if self.resampled.labels else None
        if fixed_labels is not None:
            fixed = label_map_of(fixed_labels, "fixed label")
            check_same_grid("The fixed label map", fixed.grid, "the fixed image", self.fixed_grid)
        if moving_labels is not None:
            moving = label_map_of(moving_labels, "moving label")
            self.transform.check_reach(self.fixed_grid, moving.grid, source_name(moving_labels, "moving label"))
            after = self._on_fixed_grid(self.transform, moving)
        if fixed is None or moving is None or after is None:
            return None
        masks, transforms = (self.pair.fixed_mask, self.pair.moving_mask), (self.alignment, self.transform)
        return score_label_maps(fixed, self._on_fixed_grid(self.alignment, moving), after, labels, masks, transforms)

    def _on_fixed_grid(self, transform: Transform, labels: Volume) -> Volume:
        """Warp a label map onto the fixed image's grid.

        Args:
            transform: transform from fixed to moving world coordinates in mm, RAS.
            labels: label map of the moving image, int32.

        Returns:
            The label map on the fixed image's grid, in the smallest unsigned type that holds its labels.
        """
        return resample(
            transform, self.fixed_grid, labels=[labels], label_interpolation=self.label_interpolation
        ).labels[0]

    def picture(self) -> Image.Image:
        """Draw the pair in three planes, see `sacb_bundle.quality.draw`.

        Returns:
            The picture, RGB.
        """
        moving, fixed = self.prepared.images
        warped, field = (values.cpu().numpy() for values in (self.warped_on_working_grid[0], self.field))
        labels = self.pair.fixed_labels, self.pair.moving_labels
        return draw(Views(fixed, moving, warped, field, self.prepared.grid, self.transform, *labels))

    def _repr_jpeg_(self) -> bytes:
        stream = io.BytesIO()
        self.picture().save(stream, "JPEG")
        return stream.getvalue()

    def save(
        self,
        folder: str | Path,
        formats: Sequence[str] = (),
        *,
        measures: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> dict[str, Path]:
        """Write the results into a folder, with a record, see `outputs` and `ResultFolder`.

        Results of an earlier registration there are replaced, and other files stay. All files appear once complete.

        Args:
            folder: folder of the results, made if necessary.
            formats: optional outputs, such as "h5"; see `outputs.formats`.
            measures: measures for the record; by default, those of `measures()`.
            facts: additional facts for the record, see `write_record`.

        Returns:
            The path of each result by the name of the output.

        Raises:
            InputError: if a format is unknown, a fact cannot be recorded, the folder cannot be written to, another
                process or thread is writing there, or a result would replace a file that is not a result.
        """
        check_formats(formats)
        check_path(folder)
        for name, given in (("measures", measures), ("facts", facts)):
            if given is not None and not isinstance(given, Mapping):
                raise InputError(f"{name} is {given!r}; it must be a dictionary.")
        folder = Path(folder)
        results = ResultFolder(folder, is_result)
        results.check()
        with results.replaced() as unfinished:
            written = write_outputs(self, unfinished, formats)
            record: dict[str, Any] = {
                "id": real_path(folder).name,
                "hashes": self.pair.hashes,
                "weights": self.weights,
                "measures": self.measures() if measures is None else dict(measures),
                **(facts or {}),
            }
            write_record(unfinished, **record)
        return {name: folder / path.name for name, path in written.items()}
