"""Parity with the published implementation."""

from __future__ import annotations

import pytest
import torch

from sacb_bundle.losses import LocalNCCLoss, SmoothnessLoss
from sacb_bundle.networks.checkpoint import translate
from sacb_bundle.networks.sacb_net import MATCHING_LEVELS
from sacb_bundle.ops import kmeans, warp
from tests.golden_case import CASES, GoldenCase


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> GoldenCase:
    return GoldenCase(request.param)


def test_field_agrees_within_a_thousandth_of_a_voxel(case: GoldenCase) -> None:
    field = case.network()(case.image)
    torch.testing.assert_close(field[0], case.tensor("flow"), atol=1e-3, rtol=0)


def test_blocks_agree(case: GoldenCase) -> None:
    network = case.network()
    outputs: dict[str, torch.Tensor] = {}
    for level in (5, 4):
        network.sacb[str(level)].register_forward_hook(
            lambda module, inputs, output, level=level: outputs.update({f"sacb_level{level}": output})
        )
    calls = iter(MATCHING_LEVELS)
    network.matching.register_forward_hook(
        lambda module, inputs, output: outputs.update({f"match_level{next(calls)}": output[0]})
    )
    network.encoder.register_forward_hook(
        lambda module, inputs, output: outputs.update(encoder_moving_level5=output[4][0])
    )
    network(case.image)
    for level in (5, 4):
        outputs[f"sacb_level{level}_moving"], outputs[f"sacb_level{level}_fixed"] = outputs.pop(f"sacb_level{level}")
    assert len(outputs) == 9
    for key, output in outputs.items():
        torch.testing.assert_close(output, case.tensor(key), atol=2e-4, rtol=1e-4, msg=lambda m, key=key: f"{key}: {m}")


def with_values(field: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The values, with the gradient of the field."""
    return values + (field - field.detach())


def test_losses_and_gradients_agree(case: GoldenCase) -> None:
    network, image = case.network(), case.image
    field = network(image)
    warped = warp(image[:, :1], field)
    torch.testing.assert_close(warped[0, 0], case.tensor("warped"), atol=1e-3, rtol=0)
    ncc, smoothness = LocalNCCLoss()(warped, image[:, 1:]), SmoothnessLoss()(field)
    assert ncc.item() == pytest.approx(float(case.recorded["ncc_loss"]), abs=1e-5)
    assert smoothness.item() == pytest.approx(float(case.recorded["gradient_l2_loss"]), abs=1e-5)

    # The gradient of a warp has steps at the voxel centres, which saturated matching leads to. The recorded fields lead
    # to the same side of them as when the gradients were recorded.
    calls = iter(MATCHING_LEVELS)
    network.matching.register_forward_hook(
        lambda module, inputs, output: with_values(output, case.tensor(f"match_level{next(calls)}"))
    )
    field = with_values(network(image), case.tensor("flow"))
    ncc, smoothness = LocalNCCLoss()(warp(image[:, :1], field), image[:, 1:]), SmoothnessLoss()(field)
    (ncc + 0.3 * smoothness).backward()
    parameters = dict(network.named_parameters())
    recorded = case.recorded["param_grad_norms"]
    compared = 0
    for name, norm in zip(case.recorded["param_names"], recorded, strict=True):
        if norm > 1e-4 * recorded.max():
            assert parameters[translate(str(name))].grad.norm().item() == pytest.approx(norm, rel=0.01), name
            compared += 1
    assert compared > 50


def test_kmeans_from_the_recorded_start_gives_the_recorded_labels(case: GoldenCase) -> None:
    network = case.network()
    agreeing = total = 0
    for level in MATCHING_LEVELS:
        clusters, block = case.clusters(level), network.sacb[str(level)]
        replay = block.clustering

        def cluster(descriptors, clusters=clusters, replay=replay):
            nonlocal agreeing, total
            labels, _ = kmeans(descriptors, clusters["init"], max_iterations=200)
            agreeing += (labels == clusters["labels"]).sum().item()
            total += labels.numel()
            return replay(descriptors)

        block.clustering = cluster
    network(case.image)
    assert agreeing / total >= 0.999
