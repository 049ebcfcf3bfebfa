"""Pairs of subjects for training and validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from monai.data import CacheDataset
from torch.utils.data import Dataset

from .pairs import pair_indices


class PairDataset(Dataset):
    """Pairs of subjects, each subject loaded and preprocessed once.

    An item is {"image": (2, D, H, W), moving and fixed}, with "moving_labels" and "fixed_labels" (1, D, H, W) where the
    subjects have labels.

    Args:
        data: subjects, each {"image": path} with or without "label": path.
        transform: preprocessing of a subject, to tensors (1, D, H, W) of one size.
        pairing: see `pair_indices`.
        mirror: whether each subject also counts as its mirror image, left and right (axis 0) swapped.
        augmentation: of {"moving": (1, D, H, W), "fixed": (1, D, H, W)}, the images of a pair, each time anew; for
            training, as it leaves the label maps alone.
        num_workers: threads that load the subjects.
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
        self.subjects = CacheDataset(data, transform, num_workers=num_workers)
        self.pairs = pair_indices(len(data) * (2 if mirror else 1), pairing)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        moving, fixed = (self.subject(number) for number in self.pairs[index])
        images = {"moving": moving["image"], "fixed": fixed["image"]}
        if self.augmentation is not None:
            images = self.augmentation(images)
        pair = {"image": torch.cat([images["moving"], images["fixed"]])}
        if "label" in moving and "label" in fixed:
            pair |= {"moving_labels": moving["label"], "fixed_labels": fixed["label"]}
        return pair

    def subject(self, number: int) -> dict[str, torch.Tensor]:
        """A subject, or the mirror image of one."""
        subject = self.subjects[number % len(self.subjects)]
        if number < len(self.subjects):
            return subject
        return {key: value.flip(1) for key, value in subject.items() if isinstance(value, torch.Tensor)}
