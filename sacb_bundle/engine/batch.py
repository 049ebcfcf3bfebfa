"""From a batch to what the engines give to network and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch


def prepare_pair(
    batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and target of a training step: both are the pair itself, for registration is its own supervision.

    Args:
        batch: with "image" (B, 2, D, H, W), moving and fixed.
        device: to compute on.
        non_blocking: see `torch.Tensor.to`.

    Returns:
        the images (B, 2, D, H, W) on the device, twice, as plain tensors: a `MetaTensor` would carry its metadata
        through every operation of the network.
    """
    image = batch["image"].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking)
    return image, image


def prepare_labelled_pair(
    batch: Mapping[str, torch.Tensor], device: str | torch.device, non_blocking: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input and target of a validation step: the pair, and its fixed label map if it has one, else the pair again.

    Args, returns: as `prepare_pair`; the label map is (B, 1, D, H, W).
    """
    image, _ = prepare_pair(batch, device, non_blocking)
    if "fixed_labels" not in batch:
        return image, image
    return image, batch["fixed_labels"].as_subclass(torch.Tensor).to(device, non_blocking=non_blocking)
