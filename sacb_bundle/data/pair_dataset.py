"""Pairs for training and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import torch
from monai.data import CacheDataset
from torch.utils.data import Dataset

from .pairs import pair_indices


class PairDataset(Dataset):
    """Pairs of subjects, or given pairs such as follow-up scans; each is loaded and prepared once.

    An item is {"image": (2, D, H, W), moving and fixed}, with "moving_labels" and "fixed_labels" (1, D, H, W) if both
    images have label maps.

    Args:
        data: subjects, {"image": path} with or without "label": path; or pairs, see `sacb_bundle.data.PairFiles`.
        transform: preprocessing, from a subject to tensors "image" and "label" (1, D, H, W), all of one size; or from a
            pair to an item.
        pairing: rule that pairs the subjects, see `pair_indices`; ignored for pairs.
        mirror: whether to add the mirror image of each subject or pair, with left and right (axis D) swapped.
        augmentation: random transform of {"moving": (1, D, H, W), "fixed": (1, D, H, W)} for training; it does not
            change the label maps.
        num_workers: number of loading threads.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, str]],
        transform: Callable,
        pairing: str = "ordered",
        mirror: bool = False,
        augmentation: Callable | None = None,
        num_workers: int = 2,
    ) -> None:
        self.data = data
        self.transform = transform
        self.num_workers = num_workers
        self.of_subjects = all("image" in item for item in data)
        number = len(data) * (2 if mirror else 1)
        self.pairs = pair_indices(number, pairing) if self.of_subjects else [(index, index) for index in range(number)]
        self.augmentation = augmentation

    @cached_property
    def loaded(self) -> CacheDataset:
        """All subjects or pairs, which are loaded when the first is asked for."""
        return CacheDataset(self.data, self.transform, num_workers=self.num_workers)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pair = self.pair(index)
        images = dict(zip(("moving", "fixed"), pair["image"].split(1), strict=True))
        if self.augmentation is not None:
            images = self.augmentation(images)
        return {**pair, "image": torch.cat([images["moving"], images["fixed"]])}

    def pair(self, index: int) -> dict[str, torch.Tensor]:
        """Return a pair before augmentation.

        Args:
            index: index of the pair, from 0.

        Returns:
            The item of the pair: "image" (2, D, H, W), moving and fixed, with "moving_labels" and "fixed_labels"
            (1, D, H, W) if both images have label maps.
        """
        moving, fixed = (self.item(number) for number in self.pairs[index])
        if not self.of_subjects:
            return fixed
        pair = {"image": torch.cat([moving["image"], fixed["image"]])}
        if "label" in moving and "label" in fixed:
            pair |= {"moving_labels": moving["label"], "fixed_labels": fixed["label"]}
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
