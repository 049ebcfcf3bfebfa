"""Self-similarity descriptors."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter

from sacb_bundle.ops import self_similarity

SHAPE = (14, 16, 18)
# The neighbours of a voxel along the axes, two voxels away, in the order in which they are compared.
OFFSETS = [(-2, 0, 0), (2, 0, 0), (0, -2, 0), (0, 2, 0), (0, 0, -2), (0, 0, 2)]


@pytest.fixture
def image() -> torch.Tensor:
    noise = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    return torch.stack([torch.from_numpy(gaussian_filter(channel.numpy(), 1.0)) for channel in noise])[:, None]


def test_descriptors_are_those_of_the_definition(image: torch.Tensor) -> None:
    """Compare patches of 3 x 3 x 3 voxels around one voxel, far from the faces, by loops."""
    descriptors = self_similarity(image)
    assert descriptors.shape == (2, 12, *SHAPE)
    place = (7, 8, 9)

    def patch(voxel: tuple[int, ...]) -> torch.Tensor:
        return image[0, 0][tuple(slice(index - 1, index + 2) for index in voxel)]

    patches = [patch(tuple(index + step for index, step in zip(place, offset, strict=True))) for offset in OFFSETS]
    pairs = [(i, j) for i in range(6) for j in range(i + 1, 6) if i // 2 != j // 2]
    distances = torch.stack([(patches[i] - patches[j]).square().mean() for i, j in pairs])
    distances -= distances.min()
    expected = torch.exp(-distances / distances.mean())
    torch.testing.assert_close(descriptors[0, :, 7, 8, 9], expected, rtol=1e-3, atol=1e-4)
    assert descriptors.amin() >= 0
    assert torch.equal(descriptors.amax(dim=1), torch.ones(2, *SHAPE))


@pytest.mark.parametrize(("factor", "shift"), [(-1.0, 1.0), (0.3, 0.2), (250.0, -1000.0)])
def test_contrast_does_not_matter(factor: float, shift: float, image: torch.Tensor) -> None:
    changed = self_similarity(factor * image.double() + shift)
    torch.testing.assert_close(changed, self_similarity(image.double()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("step", [2, 3])
def test_a_step_leaves_out_voxels(step: int, image: torch.Tensor) -> None:
    """The limits of the variance depend on the voxels that are described, and matter at few of them."""
    every = self_similarity(image)[:, :, ::step, ::step, ::step]
    some = self_similarity(image, step)
    assert some.shape == every.shape
    assert ((some - every).abs().amax(dim=1) > 1e-5).float().mean() < 0.01


def test_a_constant_image_has_finite_descriptors() -> None:
    assert torch.equal(self_similarity(torch.ones(1, 1, 6, 6, 6)), torch.ones(1, 12, 6, 6, 6))
