from __future__ import annotations

import pytest
import torch

from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
from sacb_bundle.networks import NETWORKS
from tests.networks.baselines.networks import SMALL

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
every_network = pytest.mark.parametrize("name", SMALL)


@pytest.fixture
def pair() -> torch.Tensor:
    return torch.rand(1, 2, 64, 48, 80, generator=torch.Generator().manual_seed(0)).cuda()


@torch.no_grad()
@every_network
def test_field_agrees_with_that_of_the_cpu(name: str, pair: torch.Tensor) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    expected = network(pair.cpu())
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        field = network.cuda()(pair).cpu()
    torch.testing.assert_close(field, expected, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@every_network
def test_autocast_trains(name: str, dtype: torch.dtype, pair: torch.Tensor) -> None:
    torch.manual_seed(0)
    network, loss = NETWORKS[name]().cuda(), RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)
    with torch.autocast("cuda", dtype=dtype):
        field = network(pair)
        loss(field, pair).backward()
    assert field.dtype == torch.float32
    assert field.isfinite().all()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@torch.no_grad()
@every_network
def test_a_cuda_graph_replays_the_network(name: str, pair: torch.Tensor) -> None:
    torch.manual_seed(0)
    network, image = NETWORKS[name]().cuda(), pair.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):  # compiles kernels and makes plans, which a capture forbids
            network(image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = network(image)
    image.copy_(pair.flip(2))
    graph.replay()
    torch.testing.assert_close(captured, network(pair.flip(2)), atol=1e-4, rtol=1e-4)
