"""Pairs of several data sets, to train one network on many kinds of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from ..errors import InputError
from .common_grid import check_shared_grid
from .dataset_folder import DatasetFolder, read_dataset
from .pair_dataset import LARGEST_SHARE, PairDataset


def read_datasets(folders: Sequence[str | Path]) -> DatasetFolder:
    """List the subjects of several data sets.

    Args:
        folders: folders of the data sets, see `read_dataset`.

    Returns:
        The training, validation and test subjects of all, in this order.

    Raises:
        InputError: as in `read_dataset`.
    """
    sets = [read_dataset(folder) for folder in folders]
    train, val, test = ([item for each in sets for item in getattr(each, part)] for part in ("train", "val", "test"))
    return DatasetFolder(train, val, test)


class PairMixture(Dataset):
    """Pairs of several data sets; both images of a pair are of the same one.

    The images of a data set, which lie in one folder, share a grid; those of others may have another size, so that a
    batch must hold one pair. A label value has its meaning within a data set only.

    Args:
        data: subjects of all data sets, see `read_datasets`.
        transform: preprocessing of a subject, see `PairDataset`.
        pairing: rule that pairs the subjects of a data set, see `pair_indices`.
        shares: how many pairs of each data set there are for one of any other, whole numbers: pairs are repeated so
            that a random sample of all has these shares. None for each pair once.
        augmentation: random transform of a pair, see `PairDataset`.
        device: device that keeps the tensors, see `PairDataset`.

    Raises:
        InputError: if the images of a data set do not share a grid, or there is not one share for each.
    """

    of_subjects = True

    def __init__(
        self,
        data: Sequence[Mapping[str, str]],
        transform: Callable,
        pairing: str = "ordered",
        shares: Sequence[int] | None = None,
        augmentation: Callable | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self.data = data
        by_folder: dict[str, list[Mapping[str, str]]] = {}
        for item in data:
            by_folder.setdefault(os.path.dirname(item["image"]), []).append(item)
        for items in by_folder.values():
            check_shared_grid([item["image"] for item in items])
        self.parts = [
            PairDataset(
                items,
                transform,
                pairing,
                augmentation=augmentation,
                device=device,
                largest_share=LARGEST_SHARE / len(by_folder),
            )
            for items in by_folder.values()
        ]
        self._lengths = [len(part) for part in self.parts]
        if shares is not None:
            if len(shares) != len(self.parts) or any(type(share) is not int or share < 1 for share in shares):
                raise InputError(
                    f"shares is {shares!r}; it must be a list of {len(self.parts)} whole numbers above 0, one for each "
                    "data set."
                )
            self._lengths = [share * max(self._lengths) for share in shares]

    @property
    def loaded(self) -> list[Mapping[str, Any]]:
        """All subjects, which are loaded when the first is asked for."""
        return [item for part in self.parts for item in part.loaded]

    def item(self, number: int) -> dict[str, torch.Tensor]:
        """Return the tensors of a subject.

        Args:
            number: number of the subject among those of all data sets, from 0.

        Returns:
            The tensors that the transform made, by key.

        Raises:
            IndexError: if there is no such subject.
        """
        for part in self.parts:
            if number < len(part.data):
                return part.item(number)
            number -= len(part.data)
        raise IndexError(number)

    def __len__(self) -> int:
        return sum(self._lengths)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        for part, length in zip(self.parts, self._lengths, strict=True):
            if index < length:
                return part[index % len(part)]
            index -= length
        raise IndexError(index)
