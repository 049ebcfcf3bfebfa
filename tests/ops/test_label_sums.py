"""Compare the fused sums of label maps with the plain ones, interpreted without a GPU."""

from __future__ import annotations

import pytest
import torch

from sacb_bundle.ops import warped_label_sums
from tests.ops.test_fused import (
    DEVICE,
    SHAPE,
    _as_on_a_gpu_in_full_precision,  # noqa: F401 (a fixture)
    assert_same,
    pytestmark,  # noqa: F401
    random,
)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("num_labels", [2, 5])
def test_warped_label_sums(num_labels: int, masked: bool) -> None:
    labels = torch.randint(0, num_labels, (2, 2, *SHAPE), generator=torch.Generator().manual_seed(2)).to(DEVICE)
    labels[..., :5] = num_labels - 1  # blocks that lack the lower labels
    mask = random(2, *SHAPE, seed=3).abs() if masked else None

    def operation(field: torch.Tensor) -> torch.Tensor:
        return torch.stack(warped_label_sums(labels[:, 0], labels[:, 1], field, num_labels, mask))

    assert_same(operation, 3 * random(2, 3, *SHAPE))
