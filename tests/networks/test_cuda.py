from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sacb_bundle.data import phantom_pair
from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
from sacb_bundle.networks import SACBNet, load_network
from sacb_bundle.ops import fused_kernels
from tests.golden_case import CASES, GoldenCase

MODEL = Path(__file__).parents[2] / "models" / "model.pt"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture
def pair() -> torch.Tensor:
    return torch.rand(2, 2, 64, 48, 80, generator=torch.Generator().manual_seed(0)).cuda()


@pytest.mark.parametrize("name", CASES)
def test_field_agrees_with_the_published_one(name: str) -> None:
    case = GoldenCase(name)
    network = case.network().cuda()
    for block in network.sacb.values():
        block.clustering.labels, block.clustering.centroids = (
            block.clustering.labels.cuda(),
            block.clustering.centroids.cuda(),
        )
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        field = network(case.image.cuda()).cpu()
    torch.testing.assert_close(field[0], case.tensor("flow"), atol=1e-3, rtol=0)


@torch.no_grad()
def test_same_input_gives_the_same_bytes(pair: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = SACBNet().cuda()
    fields = [network(pair) for _ in range(3)]
    assert torch.equal(fields[0], fields[1])
    assert torch.equal(fields[0], fields[2])


def test_training_step_gives_the_same_bytes(pair: torch.Tensor) -> None:
    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        network, loss = SACBNet().cuda(), RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)
        loss(network(pair), pair).backward()
        return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]

    first = gradients()
    assert len(first) == 92
    for _ in range(2):
        for gradient, same in zip(first, gradients(), strict=True):
            assert torch.equal(gradient, same)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains(dtype: torch.dtype, pair: torch.Tensor) -> None:
    torch.manual_seed(0)
    network, loss = SACBNet().cuda(), RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)
    clustered = []
    for block in network.sacb.values():

        def spy(descriptors, cluster=block.clustering):
            labels, centroids = cluster(descriptors)
            clustered.append((descriptors.dtype, centroids.dtype))
            return labels, centroids

        block.clustering = spy
    with torch.autocast("cuda", dtype=dtype):
        field = network(pair)
        loss(field, pair).backward()
    assert clustered == [(torch.float32, torch.float32)] * 4
    assert field.dtype == torch.float32
    assert field.isfinite().all()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@torch.no_grad()
@pytest.mark.parametrize("fused", [True, False])
def test_fp16_moves_the_field_by_less_than_a_twentieth_of_a_voxel(fused: bool) -> None:
    network = load_network(MODEL, "cuda")[0]
    pair = phantom_pair((80, 96, 80), seed=0)
    image = torch.stack([torch.from_numpy(pair[role][0]) for role in ("moving", "fixed")])[None].cuda() / 255
    with fused_kernels(False), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        expected = network(image)
    with fused_kernels(fused), torch.autocast("cuda"):
        field = network(image)
    assert expected.norm(dim=1).mean() > 0.5
    assert (field - expected).norm(dim=1).flatten().quantile(0.95) < 0.05


@torch.no_grad()
def test_network_waits_for_nothing(pair: torch.Tensor) -> None:
    network = SACBNet().cuda()
    network(pair)
    torch.cuda.set_sync_debug_mode("error")
    try:
        field = network(pair)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert field.isfinite().all()


def test_training_step_waits_for_nothing(pair: torch.Tensor) -> None:
    network, loss = SACBNet().cuda(), RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)
    optimizer = torch.optim.Adam(network.parameters())

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(network(pair), pair)
        value.backward()
        optimizer.step()
        return value.detach()

    step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        value = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert value.isfinite()
