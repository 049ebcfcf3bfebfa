"""Writing of registration results."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from monai.transforms import Transform

from ..errors import InputError
from ..spatial import Transform as SpatialTransform
from ..spatial import (
    check_label_interpolation,
    read_image,
    read_label_map,
    read_volume,
    resample,
    volume_name,
    write_composite,
    write_displacement,
    write_learn2reg,
    write_volume,
)
from .registration import registration

FORMATS = ("learn2reg", "h5", "tfm")

logger = logging.getLogger(__name__)


class SaveRegistrationd(Transform):
    """Write the results of a pair into a folder, each file whole or not at all.

    Images and labels lie on the fixed image's own grid, interpolated once from the moving image's own grid.

    - transform.nii.gz: alignment and displacement field as one, an ITK displacement field (LPS, mm), pull-back;
    - initial.tfm: the alignment alone, an ITK affine transform;
    - warped.nii.gz: the moving image, in its own intensities and type of number;
    - warped_labels.nii.gz: the moving label map, where there is one.

    It reads "id", "folder", the paths "fixed", "moving" and, if present, "moving_labels", and what
    `sacb_bundle.transforms.ToWorkingGridd` and the network add. It adds

    - "transform": the `sacb_bundle.spatial.Transform`;
    - "moving_labels" and "warped_labels": `sacb_bundle.spatial.Volume`, where there are labels.

    Args:
        formats: further forms of the transform: "learn2reg" (disp_FIXED_MOVING.nii.gz, in voxels), "h5" or "tfm"
            (ITK composites, transform.h5 and transform.tfm).
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.

    Raises:
        InputError: if a format or interpolation is none of these.
    """

    def __init__(self, formats: Sequence[str] = (), label_interpolation: str = "nearest") -> None:
        formats = [formats] if isinstance(formats, str) else list(formats)
        if not set(formats) <= set(FORMATS):
            raise InputError(f"formats is {formats}; each must be one of {', '.join(FORMATS)}.")
        check_label_interpolation(label_interpolation)
        self.formats = formats
        self.label_interpolation = label_interpolation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write, and add the transform and the labels."""
        folder: Path = data["folder"]
        transform = registration(data)
        fixed, moving = read_volume(data["fixed"]).grid, read_image(data["moving"])
        labels = [read_label_map(data["moving_labels"])] if "moving_labels" in data else []
        logger.info("%s: warping", data["id"])
        result = resample(transform, fixed, [moving], labels, self.label_interpolation)
        # At the same time: compression takes longer than all else.
        with ThreadPoolExecutor(max_workers=3) as pool:
            tasks = [pool.submit(write_displacement, result.displacement, folder / "transform.nii.gz")]
            tasks += [pool.submit(write_volume, image, folder / "warped.nii.gz") for image in result.images]
            tasks += [pool.submit(write_volume, warped, folder / "warped_labels.nii.gz") for warped in result.labels]
            for task in tasks:
                task.result()
        write_composite(SpatialTransform(transform.affine), folder / "initial.tfm")
        for name in self.formats:
            if name == "learn2reg":
                names = f"{volume_name(data['fixed'])}_{volume_name(data['moving'])}"
                write_learn2reg(result.displacement, moving.grid, folder / f"disp_{names}.nii.gz")
            else:
                assert transform.displacement is not None
                covering = transform.displacement.covering(fixed)
                write_composite(SpatialTransform(transform.affine, covering), folder / f"transform.{name}")
        added: dict[Hashable, Any] = {"transform": transform}
        if labels:
            added |= {"moving_labels": labels[0], "warped_labels": result.labels[0]}
        return {**data, **added}
