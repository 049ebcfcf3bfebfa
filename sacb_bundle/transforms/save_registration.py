"""Writing of registration results."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.transforms import Transform

from ..files import whole_file


class SaveRegistrationd(Transform):
    """Write the results of a pair into a folder of its name, each file whole or not at all.

    The files lie on the grid that was registered: that of the fixed image in RAS orientation, cropped if the config
    crops.

    - warped.nii.gz: the moving image on that grid, float32, in its own intensities;
    - warped_labels.nii.gz: the moving label map on that grid, where there is one;
    - field.nii.gz: the displacement field (D, H, W, 3) float32, in voxels of that grid, components in axis order
      (D, H, W), pull-back; the layout of the Learn2Reg challenge.

    It reads "id", "fixed" (for the grid), "warped", "pred" and, if present, "seg_warped".

    Args:
        output_dir: folder that holds the pairs' folders.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write and return the data as they were."""
        folder = self.output_dir / data["id"]
        affine = np.asarray(data["fixed"].affine)
        save_nifti(data["warped"][0], affine, np.float32, folder / "warped.nii.gz")
        save_nifti(data["pred"].movedim(0, -1), affine, np.float32, folder / "field.nii.gz")
        if "seg_warped" in data:
            labels = data["seg_warped"][0]
            save_nifti(labels, affine, np.min_scalar_type(int(labels.max())).type, folder / "warped_labels.nii.gz")
        return dict(data)


def save_nifti(values: torch.Tensor, affine: np.ndarray, dtype: type[np.generic], path: Path) -> None:
    """Write a NIfTI file so that it appears whole or not at all.

    Args:
        values: (D, H, W) or (D, H, W, components).
        affine: voxel to world in mm, RAS.
        dtype: of the stored voxels.
        path: of the file, ending in .nii.gz.
    """
    image = nib.Nifti1Image(values.detach().cpu().numpy().astype(dtype), affine)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as unfinished:
        nib.save(image, unfinished)
