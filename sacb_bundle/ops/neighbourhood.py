"""3x3x3 neighbourhoods, shared by matching and descriptors."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F

# Offsets along D, H and W, W fastest: the order of a flattened 3x3x3 kernel.
OFFSETS = tuple(product((-1, 0, 1), repeat=3))
NUM_TAPS = len(OFFSETS)

# Values (16 MB) that a neighbourhood operation processes at a time on the CPU: few enough to reuse memory that is
# mostly cached, enough that threads seldom wait for each other.
CACHED_VALUES = 2**22


def neighbours(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield x(v + k) for each of the 27 offsets k, with zeros outside the image.

    Args:
        x: features (B, C, D, H, W).

    Yields:
        27 views of one padded copy, each (B, C, D, H, W), in the order of `OFFSETS`.
    """
    yield from shifted(F.pad(x, (1, 1, 1, 1, 1, 1)))


def shifted(padded: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the 27 views of `neighbours` from a padded copy.

    Args:
        padded: features padded by one voxel on each side, (B, C, D + 2, H + 2, W + 2).

    Yields:
        27 views, each (B, C, D, H, W), in the order of `OFFSETS`.
    """
    depth, height, width = (size - 2 for size in padded.shape[-3:])
    for d, h, w in OFFSETS:
        yield padded[..., 1 + d : 1 + d + depth, 1 + h : 1 + h + height, 1 + w : 1 + w + width]
