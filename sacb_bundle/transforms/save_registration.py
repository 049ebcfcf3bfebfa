"""Writing of registration results."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Transform
from tqdm import tqdm

from ..errors import InputError
from ..files import check_results
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
INPUTS = ("fixed", "moving", "seg_fixed", "seg_moving", "fixed_mask", "moving_mask")

logger = logging.getLogger(__name__)


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
        results = self.results(data)
        field = data["pred"].as_subclass(torch.Tensor).float()
        working = Grid(tuple(field.shape[1:]), data["working_affine"].numpy())
        displacement = DisplacementField.from_voxels(field, working)
        transform = SpatialTransform(data["initial_affine"].numpy(), displacement)
        fixed, moving = read_volume(data["fixed"]).grid, read_image(data["moving"])
        labels = read_label_map(data["seg_moving"]) if "seg_moving" in data else None
        with tqdm(total=fixed.shape[0], desc=f"warping {data['id']}", unit="plane", delay=2) as bar:
            result = resample(
                transform, fixed, [moving], [labels] if labels else [], self.label_interpolation, bar.update
            )
        # At the same time: compression takes longer than all else.
        with ThreadPoolExecutor() as pool:
            tasks = [pool.submit(write_displacement, result.displacement, results["transform"])]
            tasks += [pool.submit(write_volume, image, results["warped"]) for image in result.images]
            tasks += [pool.submit(write_volume, warped, results["warped_labels"]) for warped in result.labels]
            for task in tasks:
                task.result()
        write_composite(SpatialTransform(transform.affine), results["initial"])
        for name in self.formats:
            if name == "learn2reg":
                write_learn2reg(result.displacement, moving.grid, results[name])
            else:
                covering = displacement.covering(fixed)
                write_composite(SpatialTransform(transform.affine, covering), results[name])
        logger.info("%s: the results are in %s", data["id"], results["warped"].parent)
        return dict(data)

    def results(self, pair: Mapping[Hashable, Any]) -> dict[str, Path]:
        """Paths of a pair's results."""
        names = {"transform": "transform.nii.gz", "initial": "initial.tfm", "warped": "warped.nii.gz"}
        if "seg_moving" in pair:
            names["warped_labels"] = "warped_labels.nii.gz"
        for name in self.formats:
            names[name] = f"transform.{name}"
        if "learn2reg" in self.formats:
            names["learn2reg"] = f"disp_{volume_name(pair['fixed'])}_{volume_name(pair['moving'])}.nii.gz"
        return {key: self.output_dir / pair["id"] / name for key, name in names.items()}

    def check_results(self, pairs: Iterable[Mapping[Hashable, Any]]) -> None:
        """`sacb_bundle.files.check_results` of all results, against all files that are read."""
        pairs = list(pairs)
        sources = [pair[key] for pair in pairs for key in INPUTS if key in pair]
        check_results([path for pair in pairs for path in self.results(pair).values()], sources)
