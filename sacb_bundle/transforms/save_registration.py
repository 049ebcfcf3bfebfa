"""Writing of registration results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from tqdm import tqdm

from ..errors import InputError
from ..spatial import (
    DisplacementField,
    Grid,
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
from ..spatial import Transform as SpatialTransform

FORMATS = ("learn2reg", "h5", "tfm")


class SaveRegistrationd(Transform):
    """Write the results of a pair into a folder of its name, each file whole or not at all.

    Images and labels lie on the fixed image's own grid, interpolated once from the moving image's own grid.

    - transform.nii.gz: alignment and displacement field as one, an ITK displacement field (LPS, mm), pull-back;
    - initial.tfm: the alignment alone, an ITK affine transform;
    - warped.nii.gz: the moving image, in its own intensities and type of number;
    - warped_labels.nii.gz: the moving label map, where there is one.

    It reads "id", the paths "fixed", "moving" and, if present, "seg_moving", and what
    `sacb_bundle.transforms.ToWorkingGridd` and the network add.

    Args:
        output_dir: folder that holds the pairs' folders.
        formats: further forms of the transform: "learn2reg" (disp_FIXED_MOVING.nii.gz, in voxels), "h5" or "tfm"
            (ITK composites, transform.h5 and transform.tfm).
        label_interpolation: "nearest", or "linear" for the label with the largest linear weight.

    Raises:
        InputError: if a format or interpolation is none of these.
    """

    def __init__(
        self, output_dir: str | Path, formats: Sequence[str] = (), label_interpolation: str = "nearest"
    ) -> None:
        formats = [formats] if isinstance(formats, str) else list(formats)
        if not set(formats) <= set(FORMATS):
            raise InputError(f"formats is {formats}; each must be one of {', '.join(FORMATS)}.")
        check_label_interpolation(label_interpolation)
        self.output_dir = Path(output_dir)
        self.formats = formats
        self.label_interpolation = label_interpolation

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write and return the data as they were."""
        folder = self.output_dir / data["id"]
        field = data["pred"].as_subclass(torch.Tensor).float()
        working = Grid(tuple(field.shape[1:]), data["working_affine"].numpy())
        transform = SpatialTransform(data["initial_affine"].numpy(), DisplacementField.from_voxels(field, working))
        fixed, moving = read_volume(data["fixed"]).grid, read_image(data["moving"])
        labels = read_label_map(data["seg_moving"]) if "seg_moving" in data else None
        with tqdm(total=fixed.shape[0], desc=f"warping {data['id']}", unit="plane", delay=2) as bar:
            result = resample(
                transform, fixed, [moving], [labels] if labels else [], self.label_interpolation, bar.update
            )
        # At the same time: compression takes longer than all else.
        with ThreadPoolExecutor() as pool:
            tasks = [pool.submit(write_displacement, result.displacement, folder / "transform.nii.gz")]
            tasks += [pool.submit(write_volume, image, folder / "warped.nii.gz") for image in result.images]
            tasks += [pool.submit(write_volume, warped, folder / "warped_labels.nii.gz") for warped in result.labels]
            for task in tasks:
                task.result()
        write_composite(SpatialTransform(transform.affine), folder / "initial.tfm")
        for name in self.formats:
            if name == "learn2reg":
                names = [volume_name(data[role]) for role in ("fixed", "moving")]
                write_learn2reg(result.displacement, moving.grid, folder / f"disp_{'_'.join(names)}.nii.gz")
            else:
                covering = DisplacementField.from_voxels(field, working).covering(fixed)
                write_composite(SpatialTransform(transform.affine, covering), folder / f"transform.{name}")
        return dict(data)
