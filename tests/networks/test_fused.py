from __future__ import annotations

import pytest
import torch

from sacb_bundle.ops import fused_kernels
from sacb_bundle.ops.fused import HAS_TRITON
from tests.golden_case import GoldenCase


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TRITON, reason="needs Triton")
@pytest.mark.skipif(torch.cuda.is_available(), reason="test_cuda.py runs the compiled kernels instead")
@torch.no_grad()
def test_interpreted_kernels_give_the_published_field() -> None:
    case = GoldenCase("channel_c2_n5")
    with fused_kernels(True), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        field = case.network()(case.image)
    torch.testing.assert_close(field[0], case.tensor("flow"), atol=1e-3, rtol=0)
