"""Register two images, from reading to the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import check_truth_values, chosen_device
from ..files import check_path, shipped_weights, weights_path
from ..networks import hash_of_weights, load_network
from ..ops import Captured
from ..spatial import check_label_interpolation
from .pair import as_pair
from .prepare import Prepared, Settings, prepare
from .refine import Refined, Refinement, Refiner, default_steps
from .result import Registration


class Registrar:
    """Register pairs of images with one network, whose weights are loaded once.

    Args:
        weights: weights file, with a JSON file of the same name beside it that describes them; or the name of shipped
            weights, "brain_t1" or "abdomen_ct"; by default, those for all kinds of images.
        device: device to compute on; by default, a GPU if there is one.
        spacing: spacing of the working grid in mm; "auto" for that of the training, or one that fits the body if it is
            of another size.
        initial: alignment before the network: "none" for aligned images, "center", "rigid" or "affine".
        modality: rule that scales intensities: "mr", "ct", another of `intensities.RULES`, or "auto" to choose for each
            image.
        label_interpolation: interpolation of label maps: "nearest", or "linear" for the label with the largest linear
            weight.
        amp: whether the network computes in fp16; by default, on a GPU.
        refine: number of steps that optimise the weights for each pair, see `sacb_bundle.registration.refine`; 0 for
            the network alone; by default, that of the weights (50, or 0 for "abdomen_ct") on a GPU, and 0 on the CPU.
        similarity: similarity that the refinement raises: "lncc", "mind", "mi", or "auto" to choose for each pair.
        smoothness: weight of the smoothness in the refinement; by default, that of the similarity.
        diffeomorphic: whether to remove the folds of the transform, and write its inverse, see
            `sacb_bundle.spatial.made_diffeomorphic`.

    Raises:
        InputError: if the weights or an option are invalid.

    Example:
        >>> from sacb_bundle.data import phantom_images
        >>> registrar = Registrar(device="cpu", initial="none")
        >>> result = registrar(*phantom_images((32, 32, 32)))
        >>> result.warped.grid.shape
        (32, 32, 32)
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        spacing: float | str = "auto",
        initial: str = "affine",
        modality: str = "auto",
        label_interpolation: str = "nearest",
        amp: bool | None = None,
        refine: int | None = None,
        similarity: str = "auto",
        smoothness: float | None = None,
        diffeomorphic: bool = False,
    ) -> None:
        if weights is not None:
            check_path(weights)
        check_label_interpolation(label_interpolation)
        check_truth_values(diffeomorphic=diffeomorphic)
        self.label_interpolation = label_interpolation
        self.diffeomorphic = diffeomorphic
        self.weights = weights_path(weights) if weights is not None else shipped_weights()
        self.device = chosen_device(device)
        self.amp = self.device.type == "cuda" if amp is None else amp
        self.network, self.info = load_network(self.weights, self.device)
        steps = default_steps(self.device, self.info) if refine is None else refine
        self.refinement = Refinement(steps, similarity, smoothness)
        self._forward = Captured(self.network)
        self._refiner = Refiner(self.network, self.refinement)
        self.settings = Settings(
            trained_spacing_mm=self.info.spacing_mm,
            size_divisor=self.network.size_divisor,  # type: ignore[arg-type]
            trained_modality=self.info.modality,
            trained_body_mm=self.info.body_mm,
            spacing_mm=spacing,
            initial=initial,
            modality=modality,
        )

    def __repr__(self) -> str:
        return f"<Registrar with {self.weights} on {self.device}: {self.settings}>"

    def __call__(
        self,
        fixed: Any,
        moving: Any,
        *,
        fixed_labels: Any = None,
        moving_labels: Any = None,
        fixed_mask: Any = None,
        moving_mask: Any = None,
    ) -> Registration:
        """Register the moving image to the fixed image.

        Every image is a path (NIfTI, MetaImage, NRRD), a nibabel image, a SimpleITK image, a MONAI `MetaTensor`
        (1, D, H, W), or a `sacb_bundle.spatial.Volume`. No file is written.

        Args:
            fixed: fixed image, 3-D, of any spacing and orientation.
            moving: moving image, on any grid.
            fixed_labels: label map on the fixed image's grid, to score.
            moving_labels: label map on the moving image's grid, to warp and score.
            fixed_mask: mask on the fixed image's grid, nonzero where the image counts.
            moving_mask: mask on the moving image's grid, likewise.

        Returns:
            The registration.

        Raises:
            InputError: if an image is invalid, or the images do not overlap.
        """
        # 1. Read. Each image keeps its own grid; world coordinates (mm, RAS) relate them.
        images = {"fixed": fixed, "moving": moving, "fixed_labels": fixed_labels, "moving_labels": moving_labels}
        pair = as_pair(images | {"fixed_mask": fixed_mask, "moving_mask": moving_mask})
        # 2. Align, resample both images to a working grid around their foreground, and scale their intensities.
        prepared = prepare(pair, self.settings)
        # 3. Predict the displacement field on that grid, and refine it by optimising the weights for this pair.
        refined = self.refine(prepared, self.predict(prepared))
        # 4. Compose alignment and field. Warping interpolates once, from an image's own grid to the fixed grid.
        return Registration(
            pair,
            prepared,
            refined.field,
            label_interpolation=self.label_interpolation,
            moving_source=moving,
            weights=hash_of_weights(self.network),
            refined=refined,
            diffeomorphic=self.diffeomorphic,
        )

    def predict(self, prepared: Prepared) -> torch.Tensor:
        """Return the displacement field of a prepared pair.

        Args:
            prepared: pair on its working grid, see `sacb_bundle.registration.prepare.prepare`.

        Returns:
            The field (3, D, H, W) fp32 on the registrar's device, in voxels of the working grid, with components in the
            order of the axes.
        """
        return predict(self._forward, prepared.images, self.device, self.amp)

    def refine(self, prepared: Prepared, field: torch.Tensor) -> Refined:
        """Refine the displacement field of a prepared pair by the settings of the registrar.

        Args:
            prepared: pair on its working grid.
            field: displacement field that the network predicts for it.

        Returns:
            The refined field, or the network's own, see `sacb_bundle.registration.refine.Refiner`.

        Raises:
            InputError: if the masks leave nothing to compare.
        """
        masks = None if prepared.masks is None else torch.from_numpy(prepared.masks)[None].to(self.device)
        return self._refiner(torch.from_numpy(prepared.images)[None].to(self.device), field, masks)


def predict(
    network: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray, device: torch.device, amp: bool
) -> torch.Tensor:
    """Predict the displacement field of two images on one grid.

    Args:
        network: network, see `sacb_bundle.networks.RegistrationNetwork`, or its calls as `sacb_bundle.ops.Captured`.
        images: (2, D, H, W) fp32 in [0, 1], moving and fixed.
        device: device of the network.
        amp: whether to compute in fp16.

    Returns:
        The displacement field (3, D, H, W) fp32, in voxels, with components in the order of the axes.
    """
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.float16 if amp else None, enabled=amp):
        field: torch.Tensor = network(torch.from_numpy(images)[None].to(device))[0]
    return field.float()
