"""Convert batches to the inputs and targets of the engines."""

from __future__ import annotations

from collections.abc import Mapping

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
