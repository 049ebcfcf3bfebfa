from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from sacb_bundle.losses import LocalNCCLoss, RegistrationLoss, SmoothnessLoss
from sacb_bundle.networks import SACBNet
from sacb_bundle.ops import Captured, CapturedGradients, captured, fused_kernels

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class FakeGraph:
    """Graph that notes its capture and its replays, and shares the results of the function."""

    made: list[FakeGraph]

    def __init__(self, function: Callable[..., Any], inputs: Any, shares: FakeGraph | None) -> None:
        self.function, self.shares, self.replays = function, shares, 0
        self.made.append(self)

    def replay(self, inputs: Any) -> Any:
        self.replays += 1
        return self.function(*inputs)


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn on the logger, which MONAI's logging turns off if it exists when a workflow begins."""
    monkeypatch.setattr(captured.logger, "disabled", False)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[FakeGraph]:
    """Capture on the CPU, with graphs that are noted here."""
    monkeypatch.setattr(FakeGraph, "made", [], raising=False)
    monkeypatch.setattr(captured, "_Graph", FakeGraph)
    monkeypatch.setattr(captured, "_runs_on_gpu", lambda inputs: True)
    return FakeGraph.made


def test_on_the_cpu_the_function_runs() -> None:
    calls = []
    square = Captured(lambda x: calls.append(0) or x.square())  # type: ignore[func-returns-value]
    assert [square(torch.tensor(float(number))).item() for number in range(6)] == [0, 1, 4, 9, 16, 25]
    assert len(calls) == 6


def test_the_fourth_call_is_captured_and_replayed(graphs: list[FakeGraph]) -> None:
    double = Captured(lambda x: 2 * x)
    for call in range(1, 7):
        assert double(torch.ones(2)).tolist() == [2, 2]
        assert sum(graph.replays for graph in graphs) == max(0, call - 3)
    assert len(graphs) == 1


def test_what_changes_the_kernels_is_another_graph(graphs: list[FakeGraph]) -> None:
    double = Captured(lambda x: 2 * x)
    x = torch.ones(2, 3)
    for _ in range(5):
        double(x)
        double(x.T.contiguous().T)
        with torch.no_grad():
            double(x)
        with torch.autocast("cpu"):
            double(x)
    assert [graph.replays for graph in graphs] == [2, 2, 2, 2]
    assert [graph.shares for graph in graphs] == [None, graphs[0], graphs[0], graphs[0]]
    for _ in range(4):
        with fused_kernels(not captured.fused_kernels_enabled()):
            double(x)
    assert len(graphs) == 5


def test_the_least_recently_used_graph_is_dropped(graphs: list[FakeGraph], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "MOST_SIGNATURES", 4)
    double = Captured(lambda x: 2 * x)
    for size in (1, 2, 3, 4):
        for _ in range(4):
            double(torch.ones(size))
    double(torch.ones(1))
    double(torch.ones(5))  # drops that of size 2
    double(torch.ones(1))
    assert [graph.replays for graph in graphs] == [3, 1, 1, 1]
    double(torch.ones(2))
    assert [graph.replays for graph in graphs] == [3, 1, 1, 1]


def test_a_function_that_cannot_be_captured_runs_and_it_is_said_once(
    graphs: list[FakeGraph], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: Any) -> None:
        try:
            raise RuntimeError("the function waits for the device\nCompile with ...")
        finally:
            raise RuntimeError("the capture was invalidated")

    monkeypatch.setattr(captured, "_Graph", refuse)
    double = Captured(lambda x: 2 * x)
    for size in (2, 3):
        for _ in range(6):
            assert double(torch.ones(size)).tolist() == [2] * size
    assert [record.getMessage() for record in caplog.records] == [
        "CUDA graphs are not used, so small images take longer: the function waits for the device"
    ]


def test_an_error_of_the_function_is_raised(graphs: list[FakeGraph]) -> None:
    reshape = Captured(lambda x: x.reshape(7))
    for _ in range(5):
        with pytest.raises(RuntimeError, match="shape '\\[7\\]' is invalid"):
            reshape(torch.ones(2))


def test_copies_start_without_graphs(graphs: list[FakeGraph]) -> None:
    square = Captured(torch.square)
    for _ in range(4):
        square(torch.ones(2))
    for same in (copy.deepcopy(square), pickle.loads(pickle.dumps(square))):
        same(torch.ones(2))
    assert [graph.replays for graph in graphs] == [1]


def test_gradients_are_those_of_backward() -> None:
    torch.manual_seed(0)
    linear, unused = torch.nn.Linear(3, 1), torch.nn.Parameter(torch.ones(2))
    gradients = CapturedGradients(lambda x: (linear(x).square().sum(), linear(x)), [*linear.parameters(), unused])
    x = torch.rand(4, 3)
    for _ in range(2):  # the second does not add to the first
        loss, output = gradients(x)
    own = [linear.weight.grad, linear.bias.grad]
    linear.zero_grad()
    expected = linear(x).square().sum()
    expected.backward()
    assert torch.equal(loss, expected)
    assert torch.equal(output, linear(x))
    assert not loss.requires_grad
    assert not output.requires_grad
    assert all(torch.equal(*both) for both in zip(own, [linear.weight.grad, linear.bias.grad], strict=True))
    assert unused.grad is None


def pair(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 2, *shape, generator=torch.Generator().manual_seed(seed)).cuda()


def graphs_of(function: Captured) -> int:
    """Return the number of captured signatures."""
    return sum(not isinstance(known, int) for known in function._signatures.values())


@pytest.fixture
def network() -> SACBNet:
    torch.manual_seed(0)
    return SACBNet().cuda()


@pytest.mark.gpu
@needs_gpu
@torch.no_grad()
def test_replays_give_the_bytes_of_the_network(network: SACBNet) -> None:
    infer = Captured(network)
    pairs = [pair(*shape, seed=seed) for seed in range(7) for shape in ((32, 48, 64), (48, 32, 32), (64, 64, 32))]
    fields = [infer(images) for images in pairs]
    assert graphs_of(infer) == 3
    assert all(torch.equal(field, network(images)) for field, images in zip(fields, pairs, strict=True))
    for parameter in network.parameters():
        parameter.mul_(1.1)
    changed = infer(pairs[0])
    assert not torch.equal(changed, fields[0])
    assert torch.equal(changed, network(pairs[0]))


@pytest.mark.gpu
@needs_gpu
@torch.no_grad()
def test_replays_give_the_bytes_of_autocast(network: SACBNet) -> None:
    infer = Captured(network)
    with torch.autocast("cuda", dtype=torch.float16):  # one block, which keeps its converted weights
        fields = [infer(pair(32, 48, 64, seed=seed)) for seed in range(6)]
    with torch.autocast("cuda", dtype=torch.float16):
        fields += [infer(pair(32, 48, 64, seed=seed)) for seed in range(6, 9)]
    assert graphs_of(infer) == 1
    for seed, field in enumerate(fields):
        with torch.autocast("cuda", dtype=torch.float16):
            assert torch.equal(field, network(pair(32, 48, 64, seed=seed)))


@pytest.mark.gpu
@needs_gpu
def test_replays_in_threads_do_not_disturb_each_other(network: SACBNet) -> None:
    infer = Captured(network)
    pairs = [pair(32, 48, 64, seed=seed) for seed in range(40)]

    @torch.no_grad()
    def run(images: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(torch.cuda.Stream()):
            field = infer(images)
            torch.cuda.current_stream().synchronize()
            return field

    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as threads:
        fields = list(threads.map(run, pairs))
    assert graphs_of(infer) == 1
    with torch.no_grad():
        assert all(torch.equal(field, network(images)) for field, images in zip(fields, pairs, strict=True))


@pytest.mark.gpu
@needs_gpu
def test_replayed_training_steps_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = RegistrationLoss(LocalNCCLoss(), SmoothnessLoss(), 1.0)

    def trained() -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = SACBNet().cuda()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        schedule = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=12, power=0.9)
        gradients = CapturedGradients(lambda images: (loss(network(images), images),), network.parameters())
        losses = []
        for step in range(10):
            losses += gradients(pair(*((32, 48, 64), (48, 32, 32))[step % 2], seed=step))
            optimizer.step()
            schedule.step()
        assert graphs_of(gradients._captured) == (2 if captured.EAGER_CALLS == 3 else 0)
        moments = [value for state in optimizer.state.values() for value in state.values()]
        return [*losses, *network.parameters(), *moments]

    replayed = trained()
    monkeypatch.setattr(captured, "EAGER_CALLS", 100)
    assert all(torch.equal(*both) for both in zip(replayed, trained(), strict=True))


@pytest.mark.gpu
@needs_gpu
@torch.no_grad()
def test_a_failed_capture_leaves_no_trace(network: SACBNet, caplog: pytest.LogCaptureFixture) -> None:
    infer, waiting = Captured(network), Captured(lambda x: x * x.sum().item())
    image = pair(32, 32, 32)
    for _ in range(5):
        infer(image)
        assert torch.equal(waiting(image), image * image.sum().item())
    assert len([record for record in caplog.records if "CUDA graphs are not used" in record.message]) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.empty_cache()
    assert torch.rand(3, device="cuda").isfinite().all()
    other = pair(48, 32, 32)
    for _ in range(5):
        assert torch.equal(infer(image), network(image))
        assert torch.equal(infer(other), network(other))
    assert graphs_of(infer) == 2


@pytest.mark.gpu
@needs_gpu
def test_a_result_that_needs_a_gradient_is_not_captured(network: SACBNet) -> None:
    infer = Captured(network)
    for _ in range(5):
        assert infer(pair(32, 32, 32)).requires_grad
    assert graphs_of(infer) == 0
