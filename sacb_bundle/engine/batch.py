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
