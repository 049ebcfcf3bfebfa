"""Pairs for training and validation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from monai.data import CacheDataset
from torch.utils.data import Dataset

from .checks import check_masks, has_masks
from .pairs import pair_indices

# Items of a pair that hold both images, and the names of their parts in an augmentation.
PARTS = {
    "image": ("moving", "fixed"),
    "masks": ("moving_mask", "fixed_mask"),
    "target": ("moving_target", "fixed_target"),
}

# Share of the free memory of a GPU that the tensors of a data set may take: there is one for validation, too.
LARGEST_SHARE = 0.25

logger = logging.getLogger(__name__)


class PairDataset(Dataset):
    """Pairs of subjects, or given pairs such as follow-up scans; each is loaded and prepared once.

    An item is {"image": (2, D, H, W), moving and fixed}, with "moving_labels" and "fixed_labels" (1, D, H, W) if both
    images have label maps. If any subject or pair has a mask, each item has "masks" (2, D, H, W), of ones for an image
    without one.

    Args:
        data: subjects, {"image": path} with or without "label": path and "mask": path; or pairs, see
            `sacb_bundle.data.PairFiles`.
        transform: preprocessing, from a subject to tensors "image", "label" and "mask" (1, D, H, W), all of one size;
            or from a pair to an item.
        pairing: rule that pairs the subjects, see `pair_indices`; ignored for pairs.
        mirror: whether to add the mirror image of each subject or pair, with left and right (axis D) swapped.
        augmentation: random transform of {"moving": (1, D, H, W), "fixed": (1, D, H, W)} for training, with
            "moving_labels", "moving_mask" and the same of the fixed image, if there are any. If it adds "moving_target"
            and "fixed_target", the loss compares these, and the item has "target" (2, D, H, W).
        num_workers: number of loading threads.
        device: device that keeps the tensors; main memory if they would take more than a share of its free memory.
        largest_share: that share; a quarter by default.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, str]],
        transform: Callable,
        pairing: str = "ordered",
        mirror: bool = False,
        augmentation: Callable | None = None,
        num_workers: int = 2,
        device: str | torch.device = "cpu",
        largest_share: float = LARGEST_SHARE,
    ) -> None:
        self.data = data
        self.transform = transform
        self.num_workers = num_workers
        self.device = torch.device(device)
        self.largest_share = largest_share
        self.of_subjects = all("image" in item for item in data)
        number = len(data) * (2 if mirror else 1)
        self.pairs = pair_indices(number, pairing) if self.of_subjects else [(index, index) for index in range(number)]
        self.augmentation = augmentation
        self.masked = has_masks(data)

    @cached_property
    def loaded(self) -> Sequence[Mapping[str, Any]]:
        """All subjects or pairs, which are loaded when the first is asked for."""
        cached = CacheDataset(self.data, self.transform, num_workers=self.num_workers)
        items = [cached[number] for number in range(len(cached))]
        for item, files in zip(items, self.data, strict=True):
            if names := [files[key] for key in ("moving_mask", "fixed_mask") if key in files]:
                check_masks(item["masks"], item["image"].shape[1:], " and ".join(names))
        return _placed(items, self.device, self.largest_share)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pair = self.pair(index)
        return pair if self.augmentation is None else _stacked(self.augmentation(_split(pair)))

    def pair(self, index: int) -> dict[str, torch.Tensor]:
        """Return a pair before augmentation.

        Args:
            index: index of the pair, from 0.

        Returns:
            The item of the pair.
        """
        moving, fixed = (self.item(number) for number in self.pairs[index])
        if not self.of_subjects:
            return {"masks": torch.ones_like(fixed["image"]), **fixed} if self.masked else fixed
        pair = {"image": torch.cat([moving["image"], fixed["image"]])}
        if "label" in moving and "label" in fixed:
            pair |= {"moving_labels": moving["label"], "fixed_labels": fixed["label"]}
        if self.masked:
            masks = [subject.get("mask", torch.ones_like(subject["image"])) for subject in (moving, fixed)]
            pair["masks"] = torch.cat(masks)
        return pair

    def item(self, number: int) -> dict[str, torch.Tensor]:
        """Return the tensors of a subject or pair, or of its mirror image.

        Args:
            number: number of the subject or pair, from 0; the mirror images follow after the last.

        Returns:
            The tensors that the transform made, by key, with axis D reversed in a mirror image.
        """
        item = self.loaded[number % len(self.data)]
        mirrored = number >= len(self.data)
        return {
            key: value.flip(1) if mirrored else value for key, value in item.items() if isinstance(value, torch.Tensor)
        }


def _placed(items: Sequence[Mapping[str, Any]], device: torch.device, share: float) -> Sequence[Mapping[str, Any]]:
    """Return items with their tensors on a device, or as they are if they would fill a GPU."""
    num_bytes = sum(value.nbytes for item in items for value in item.values() if isinstance(value, torch.Tensor))
    if device.type == "cuda" and num_bytes > share * torch.cuda.mem_get_info(device)[0]:
        logger.info("The data set takes %.1f GB, so it stays in main memory; each step takes longer.", num_bytes / 1e9)
        return items
    return [
        {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in item.items()}
        for item in items
    ]


def _split(pair: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the items of a pair with those of both images apart, as an augmentation takes them."""
    parts = {key: value for key, value in pair.items() if key not in PARTS}
    for key in PARTS.keys() & pair.keys():
        parts |= dict(zip(PARTS[key], pair[key].split(1), strict=True))
    return parts


def _stacked(parts: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `_split`."""
    split = {name for names in PARTS.values() for name in names}
    pair = {key: value for key, value in parts.items() if key not in split}
    return pair | {key: torch.cat([parts[name] for name in names]) for key, names in PARTS.items() if names[0] in parts}
