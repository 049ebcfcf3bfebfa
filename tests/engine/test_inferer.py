from __future__ import annotations

import pytest
import torch

from sacb_bundle.engine import RegistrationInferer


@pytest.mark.parametrize("shape", [(16, 32, 48), (17, 30, 41)])
def test_pads_to_valid_sizes_and_cuts_back(shape: tuple[int, int, int]) -> None:
    seen = []

    def network(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.shape[2:])
        return image[:, :1].expand(-1, 3, -1, -1, -1)

    image = torch.rand(1, 2, *shape)
    field = RegistrationInferer(16)(image, network)
    assert all(size % 16 == 0 and size - 16 < wanted <= size for size, wanted in zip(seen[0], shape, strict=True))
    assert torch.equal(field, image[:, :1].expand(-1, 3, -1, -1, -1))
