from __future__ import annotations

import math

import pytest
import torch

from sacb_bundle.networks.baselines.fourier_net import fourier_upsample
from sacb_bundle.networks.baselines.im2grid import encode_positions, translate_coordinates
from sacb_bundle.networks.baselines.lap_irn import LapIRN
from sacb_bundle.networks.baselines.lku_net import LargeKernelBlock
from sacb_bundle.networks.baselines.mode_t import HEAD_CHANNELS, CompetitiveWeighting, MotionDecomposition
from sacb_bundle.ops import match_similarity, upsample_field
from tests.networks.baselines.networks import small


def features(channels: int) -> torch.Tensor:
    """Return random features (1, channels, 6, 7, 8)."""
    return torch.randn(1, channels, 6, 7, 8, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_large_kernels_act_as_one_kernel() -> None:
    block, x = LargeKernelBlock(3), features(3)
    five, three, one = (convolution.weight for convolution in block.convolutions)
    kernel = five.clone()
    kernel[:, :, 1:4, 1:4, 1:4] += three
    kernel[:, :, 2:3, 2:3, 2:3] += one
    kernel[:, :, 2, 2, 2] += torch.eye(3)  # the input itself
    bias = torch.stack([convolution.bias for convolution in block.convolutions]).sum(dim=0)
    expected = block.activation(torch.nn.functional.conv3d(x, kernel, bias, padding=2))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_a_band_limited_field_is_reproduced() -> None:
    def wave(shape: tuple[int, int, int]) -> torch.Tensor:
        d, h, w = torch.meshgrid(*(2 * math.pi * torch.arange(n) / n for n in shape), indexing="ij")
        return (1.5 + torch.cos(d - 2 * h + 0.3) + 3 * torch.sin(h + w)).expand(1, 3, *shape)

    torch.testing.assert_close(fourier_upsample(wave((4, 6, 8)), 4), wave((16, 24, 32)), atol=1e-5, rtol=1e-5)


def test_the_fine_field_passes_through_the_coarse_one() -> None:
    field = torch.randn(1, 3, 4, 6, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fourier_upsample(field, 4)[:, :, ::4, ::4, ::4], field, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_levels_of_lap_irn_add_their_displacements() -> None:
    network = small("LapIRN")
    for level, shift in zip(network.levels, (0.25, 1.0, -3.0), strict=True):
        torch.nn.init.zeros_(level.displacement.weight)
        level.displacement.bias[0] = shift
    field = network(torch.rand(1, 2, 16, 24, 32))
    # Softsign limits each to 0.2 of the size of its grid along D (4, 8 and 16); coarse ones count twice per level.
    expected = 4 * 0.2 * 4 * 0.25 / 1.25 + 2 * 0.2 * 8 * 0.5 - 0.2 * 16 * 0.75
    torch.testing.assert_close(field[0, 0], torch.full((16, 24, 32), expected))
    assert not field[0, 1:].any()


@torch.no_grad()
def test_features_of_lap_irn_reach_the_finer_levels() -> None:
    network = LapIRN(channels=4)
    for level in network.levels[:2]:  # no field passes
        torch.nn.init.zeros_(level.displacement.weight)
    image = torch.rand(1, 2, 16, 16, 16)
    before = network(image)
    network.levels[0].residual[-1].layers[-1].bias += 1
    assert not torch.equal(network(image), before)


@torch.no_grad()
@pytest.mark.parametrize("offset", [(1, 0, 0), (0, -1, 0), (0, 1, -1)])
def test_translated_coordinates_find_a_shift(offset: tuple[int, int, int]) -> None:
    d, h, w = torch.meshgrid(*(torch.arange(n) % 3 for n in (6, 7, 8)), indexing="ij")
    # The voxels of a neighbourhood have 27 different features.
    moving = 30.0 * torch.nn.functional.one_hot(9 * d + 3 * h + w).movedim(-1, 0)[None]
    fixed = moving.roll([-step for step in offset], dims=(2, 3, 4))
    found = translate_coordinates(moving, fixed)[0, :, 1:-1, 1:-1, 1:-1]
    torch.testing.assert_close(found, torch.tensor(offset, dtype=torch.float32).reshape(3, 1, 1, 1).expand_as(found))


def test_encoded_positions_are_sines_and_cosines() -> None:
    encoding = encode_positions(torch.zeros(2, 16, 3, 4, 5))
    assert encoding.shape == (1, 16, 3, 4, 5)
    d, h, w = 2, 3, 1
    phases = [d, d / 100, h, h / 100, w, w / 100]
    expected = [*map(math.sin, phases), *map(math.cos, phases), 0, 0, 0, 0]
    torch.testing.assert_close(encoding[0, :, d, h, w], torch.tensor(expected))


@torch.no_grad()
def test_the_bias_of_a_head_moves_its_field() -> None:
    attention, x = MotionDecomposition(channels=4, heads=2), features(4)
    torch.nn.init.zeros_(attention.projection.weight)
    attention.bias[1, 9 * 2 + 3 * 1 + 0] = 100  # offset (1, 0, -1)
    fields = attention(x, x)
    assert fields.shape == (1, 2, 3, 6, 7, 8)
    torch.testing.assert_close(fields[0, 1, :, 2, 2, 2], torch.tensor([1.0, 0.0, -1.0]))
    torch.testing.assert_close(fields[0, 0, :, 2, 2, 2], torch.zeros(3))  # all neighbours alike


@torch.no_grad()
def test_each_head_matches_its_own_channels() -> None:
    attention, moving = MotionDecomposition(channels=4, heads=2), features(4)
    fixed = moving.flip(2)
    fields = attention(moving, fixed)
    maps = [attention.projection(attention.norm(x.movedim(1, -1))).movedim(-1, 1) for x in (moving, fixed)]
    for head in range(2):
        own = [x[:, head * HEAD_CHANNELS : (head + 1) * HEAD_CHANNELS] for x in maps]
        expected = match_similarity(own[0], own[1] / math.sqrt(HEAD_CHANNELS))
        torch.testing.assert_close(fields[:, head], expected)


@torch.no_grad()
def test_weights_of_heads_compete() -> None:
    weighting = CompetitiveWeighting(heads=2)
    last = weighting.weights[-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.copy_(torch.tensor([math.log(3.0), 0.0]))
    fields = torch.randn(1, 2, 3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = 0.75 * upsample_field(fields[:, 0]) + 0.25 * upsample_field(fields[:, 1])
    torch.testing.assert_close(weighting(fields), expected)
