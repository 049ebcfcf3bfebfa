"""The 3x3x3 neighbourhood that matching and descriptors share."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F

# Offsets in axis order (D, H, W), the last axis running fastest: the order of a flattened 3x3x3 kernel.
OFFSETS = tuple(product((-1, 0, 1), repeat=3))
NUM_TAPS = len(OFFSETS)

# Values (16 MB) that an operation on neighbourhoods handles at a time on the CPU: few enough for memory that is reused
# and mostly cached, many enough for the threads to wait for each other seldom.
CACHED_VALUES = 2**22


def neighbours(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield x(v + k) for each of the 27 offsets k, zeros outside.

    Args:
        x: (B, C, D, H, W).

    Yields:
        27 views of one padded copy, each (B, C, D, H, W), in the order of `OFFSETS`.
    """
    yield from shifted(F.pad(x, (1, 1, 1, 1, 1, 1)))


def shifted(padded: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the 27 views of `neighbours` of the padded copy, (B, C, D + 2, H + 2, W + 2)."""
    depth, height, width = (size - 2 for size in padded.shape[-3:])
    for d, h, w in OFFSETS:
        yield padded[..., 1 + d : 1 + d + depth, 1 + h : 1 + h + height, 1 + w : 1 + w + width]
