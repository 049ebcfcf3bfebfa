from __future__ import annotations

import pytest
import torch

from sacb_bundle.errors import InputError
from sacb_bundle.metrics import folding_percentage
from sacb_bundle.networks import SACB, SACBNet
from tests.clusters import field_and_clusters, replaying

PAIR = torch.rand(2, 2, 32, 32, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"descriptor": "channel"},
        {"descriptor": "mix", "num_clusters": (2, 3, 5, 11)},
        {"sacb_levels": (5, 3)},
        {"sacb_levels": ()},
        {"clustering_backend": "torch-kmeans", "max_iterations": 20},
        {"scaled_matching": True, "integration_steps": 3},
    ],
)
def test_field_has_the_shape_of_the_pair(options: dict) -> None:
    field = SACBNet(base_channels=2, **options)(PAIR[:1])
    assert field.shape == (1, 3, 32, 32, 48)
    assert field.dtype == torch.float32
    assert field.isfinite().all()


def test_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in SACBNet(base_channels=4).parameters()) == 1_105_591


def test_baseline_has_no_sacb() -> None:
    assert not [name for name, _ in SACBNet(sacb_levels=()).named_parameters() if "sacb" in name]


@torch.no_grad()
def test_batch_gives_what_its_items_give() -> None:
    network = SACBNet(base_channels=2)
    together, clusters = field_and_clusters(network, PAIR)
    for item in range(2):
        # Moving and fixed features of every item, one after the other.
        own = {level: (labels[item::2], centroids[item::2]) for level, (labels, centroids) in clusters.items()}
        alone = replaying(network, own)(PAIR[item : item + 1])
        torch.testing.assert_close(together[item], alone[0], atol=1e-3, rtol=0)


@torch.no_grad()
def test_same_input_gives_the_same_bytes_whatever_the_random_state() -> None:
    network = SACBNet(base_channels=2)
    first = network(PAIR[:1])
    torch.manual_seed(99)
    assert torch.equal(first, network(PAIR[:1]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing_on_the_cpu(dtype: torch.dtype) -> None:
    network = SACBNet(base_channels=2)
    parameters = list(network.parameters())
    plain = network(PAIR[:1])
    with torch.autocast("cpu", dtype=dtype):
        cast = network(PAIR[:1])
    assert torch.equal(plain, cast)
    for gradients in zip(
        *(torch.autograd.grad(field.square().mean(), parameters) for field in (plain, cast)), strict=True
    ):
        assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 32, 40, 32), "Axis H has size 40; the next size divisible by 16 is 48"),
        ((1, 2, 33, 32, 32), "Axis D has size 33; the next size divisible by 16 is 48"),
        ((1, 3, 32, 32, 32), r"shape \(1, 3, 32, 32, 32\); it must be \(B, 2, D, H, W\)"),
        ((2, 32, 32, 32), r"must be \(B, 2, D, H, W\)"),
    ],
)
def test_wrong_input_is_named(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SACBNet(base_channels=2)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"descriptor": "texture"}, "descriptor is 'texture'"),
        ({"clustering_backend": "sklearn"}, "clustering_backend is 'sklearn'"),
        ({"sacb_levels": (5, 1)}, r"sacb_levels is \(5, 1\)"),
        ({"num_clusters": (7, 7)}, r"num_clusters is \(7, 7\)"),
        ({"num_clusters": 1}, "num_clusters is 1"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"integration_steps": -1}, "integration_steps is -1"),
        ({"scaled_matching": 1}, "scaled_matching is 1"),
    ],
)
def test_wrong_option_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SACBNet(**options)


@torch.no_grad()
def test_scaled_matching_divides_the_scores() -> None:
    moving, fixed = torch.randn(2, 1, 32, 4, 5, 6)
    scaled = SACBNet(base_channels=2, sacb_levels=(), scaled_matching=True).match_level(5, moving, fixed)
    expected = SACBNet(base_channels=2, sacb_levels=()).match_level(5, moving / 32**0.5, fixed)
    torch.testing.assert_close(scaled, expected)


@torch.no_grad()
def test_integration_makes_folding_rarer() -> None:
    plain = SACBNet(base_channels=2)
    integrated = SACBNet(base_channels=2, integration_steps=5)
    for given, made in zip(plain.parameters(), integrated.parameters(), strict=True):
        made.data = given.data
    assert folding_percentage(integrated(PAIR[:1])[0]) < folding_percentage(plain(PAIR[:1])[0]) / 2


def test_weights_fit_only_a_network_with_the_same_options() -> None:
    paper, better = SACBNet(base_channels=2), SACBNet(base_channels=2, scaled_matching=True, integration_steps=5)
    other = SACBNet(base_channels=2, scaled_matching=True, integration_steps=4)
    assert [name for name in paper.state_dict() if name.startswith("option_")] == []
    named = "integration_steps_5, scaled_matching_True"
    for source, target, message in (
        (paper, better, f"a SACBNet with the options of the paper, but this one has {named}"),
        (better, paper, f"a SACBNet with {named}, but this one has those of the paper"),
        (better, other, f"a SACBNet with {named}, but this one has integration_steps_4, scaled_matching_True"),
        (SACBNet(base_channels=2, scaled_matching=True), paper, "a SACBNet with scaled_matching_True, but this one"),
    ):
        with pytest.raises(InputError, match=message):
            target.load_state_dict(source.state_dict())
    same = SACBNet(base_channels=2, scaled_matching=True, integration_steps=5)
    same.load_state_dict(better.state_dict())
    assert torch.equal(same.encoder.levels[0][0].convolution.weight, better.encoder.levels[0][0].convolution.weight)


def test_clustering_can_be_replaced_and_carries_no_gradient() -> None:
    block = SACB(4, num_clusters=2)
    centroids = torch.zeros(1, 2, 4)
    block.clustering = lambda descriptors: (torch.zeros(descriptors.shape[:2], dtype=torch.int64), centroids)
    output = block(torch.rand(1, 4, 3, 5, 7))
    output.sum().backward()
    assert output.shape == (1, 4, 3, 5, 7)
    assert block.tap_mlp[0].bias.grad.abs().sum() > 0


def test_cluster_bound_changes_only_what_has_not_converged() -> None:
    short, converged, longer = (SACBNet(base_channels=2, max_iterations=bound) for bound in (1, 150, 300))
    for other in (converged, longer):
        other.load_state_dict(short.state_dict())
    with torch.no_grad():
        fields = [network(PAIR[:1]) for network in (short, converged, longer)]
    assert not torch.equal(fields[0], fields[1])
    torch.testing.assert_close(fields[1], fields[2], atol=1e-3, rtol=0)
