"""Overlap of two label maps."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .arrays import Array, as_label_map_pair


def dice(first: Array, second: Array, labels: Iterable[int]) -> dict[int, float]:
    """Return the Dice coefficient of each label, `2 |A & B| / (|A| + |B|)`.

    One joint histogram of the two maps gives every count, so the maps are read once for any number of labels.

    Args:
        first: label map (D, H, W).
        second: label map (D, H, W) on the same grid and device.
        labels: label values to score; any integers.

    Returns:
        Dice, in [0, 1], of each label present in both maps, in ascending order of the labels. A label missing from
        either map has no entry.

    Raises:
        ValueError: if the label maps differ in shape, are not 3-D, or hold values that are not whole numbers.

    Source: L. R. Dice, "Measures of the amount of ecologic association between species", Ecology 26, 1945.

    Example:
        >>> import numpy as np
        >>> dice(np.array([[[1, 1, 2, 0]]]), np.array([[[1, 0, 2, 3]]]), labels=(1, 2, 3))
        {1: 0.6666666666666666, 2: 1.0}
    """
    first, second = as_label_map_pair(first, second)
    names = torch.tensor(sorted(set(labels)), dtype=torch.int64, device=first.device)

    # Bin 2k + 1 counts the k-th label, [name, name + 1); even bins count the values between labels.
    edges = torch.stack((names, names + 1), dim=1).flatten()
    bins = len(edges) + 1
    rows, columns = (torch.bucketize(label_map, edges, right=True).flatten() for label_map in (first, second))
    histogram = torch.bincount(rows.mul_(bins).add_(columns), minlength=bins**2).reshape(bins, bins)

    in_first, in_second, in_both = (
        counts[1::2] for counts in (histogram.sum(dim=1), histogram.sum(dim=0), histogram.diagonal())
    )
    scored = (in_first > 0) & (in_second > 0)
    scores = 2 * in_both[scored].double() / (in_first + in_second)[scored]
    return dict(zip(names[scored].tolist(), scores.tolist(), strict=True))
