"""Convert batches to the inputs and targets of the engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def prepare_pair(
    batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input and target of a training step: both are the pair itself, since registration is unsupervised.

    Args:
        batch: batch with "image" (B, 2, D, H, W), moving and fixed.
        device: device to compute on.
        non_blocking: whether the copy to the device is asynchronous, as in `torch.Tensor.to`.

    Returns:
        The images (B, 2, D, H, W) on the device, twice, as plain tensors, since a `MetaTensor` would carry its
        metadata through every operation of the network.
    """
    image = batch["image"].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking)
    return image, image


class TrainingBatch:
    """Convert a batch to the input and target of a training step, see `sacb_bundle.losses.TrainingLoss`.

    Args:
        with_labels: whether the target holds the label maps.
        both_directions: whether the swapped pairs, fixed and moving, follow after the pairs.
    """

    def __init__(self, with_labels: bool = False, both_directions: bool = False) -> None:
        self.with_labels = with_labels
        self.both_directions = both_directions

    def __call__(
        self, batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the input and target of a training step.

        Args:
            batch: batch with "image" (B, 2, D, H, W), moving and fixed; with "target", likewise, if the loss compares
                other images than the network sees; with "moving_labels" and "fixed_labels" (B, 1, D, H, W) if they are
                asked for; and with "masks" (B, 2, D, H, W) if there are any.
            device: device to compute on.
            non_blocking: whether the copy to the device is asynchronous, as in `torch.Tensor.to`.

        Returns:
            The images (B, 2, D, H, W) or, in both directions, (2B, 2, D, H, W); and the images to compare, label maps
            and masks in this order, stacked along the channels, as plain tensors.
        """
        parts = [batch["image"], batch.get("target", batch["image"])]
        if self.with_labels:
            parts.append(torch.cat([batch["moving_labels"], batch["fixed_labels"]], dim=1))
        if "masks" in batch:
            parts.append(batch["masks"])
        parts = [part.as_subclass(torch.Tensor).to(device, non_blocking=non_blocking) for part in parts]
        if self.both_directions:
            parts = [torch.cat([part, part.flip(1)]) for part in parts]
        image, *target = parts
        return image, torch.cat(target, dim=1) if len(target) > 1 else target[0]


def prepare_case(
    batch: Mapping[str, Any], device: str | torch.device, non_blocking: bool = False
) -> tuple[torch.Tensor, torch.Tensor, tuple[()], dict[str, torch.Tensor | None]]:
    """Return the input and target of the registration of a case, and the masks of its pair.

    Args:
        batch: batch of one case with "image" (1, 2, D, H, W), moving and fixed, and "prepared".
        device: device to compute on.
        non_blocking: whether the copy to the device is asynchronous, as in `torch.Tensor.to`.

    Returns:
        The images, twice, as in `prepare_pair`; no further arguments of the inferer; and the masks (1, 2, D, H, W) of
        the moving and the fixed image as "masks", or None.
    """
    masks = batch["prepared"][0].masks
    given = None if masks is None else torch.from_numpy(masks)[None].to(device, non_blocking=non_blocking)
    return *prepare_pair(batch, device, non_blocking), (), {"masks": given}


def prepare_labelled_pair(
    batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the input and target of a validation step: the pair, and its fixed label map, or the pair if it has none.

    Args:
        batch: batch with "image" (B, 2, D, H, W), moving and fixed, and optionally "fixed_labels" (B, 1, D, H, W).
        device: device to compute on.
        non_blocking: whether the copy to the device is asynchronous, as in `torch.Tensor.to`.

    Returns:
        The images (B, 2, D, H, W), and the label map (B, 1, D, H, W) or the images again, as plain tensors.
    """
    image, _ = prepare_pair(batch, device, non_blocking)
    if "fixed_labels" not in batch:
        return image, image
    return image, batch["fixed_labels"].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking)
