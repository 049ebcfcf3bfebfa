"""Optimise the weights for the pair at hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sacb_bundle as sacb
from sacb_bundle.data import phantom_pair
from sacb_bundle.errors import InputError
from sacb_bundle.losses import LocalNCCLoss
from sacb_bundle.metrics import folding_percentage, jacobian_determinant
from sacb_bundle.networks import SACBNet, WeightsInfo
from sacb_bundle.ops import warp
from sacb_bundle.registration import optimise
from sacb_bundle.registration import refine as module
from sacb_bundle.registration.optimise import METHODS, FieldCorrection, Optimiser
from sacb_bundle.registration.refine import Refined, Refinement, Refiner, default_steps

SHAPE = (32, 32, 32)
LESS = "the images agree less after it"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def tensors(seed: int = 0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A phantom pair (1, 2, D, H, W) in [0, 1], and its label maps."""
    pair = phantom_pair(SHAPE, seed, amplitude=1.2)
    images = torch.stack([torch.from_numpy(pair[role][0]) for role in ("moving", "fixed")])[None].float() / 255
    return images, {role: torch.from_numpy(pair[role][1].astype(np.float32)) for role in pair}


def network() -> SACBNet:
    torch.manual_seed(0)
    return SACBNet(base_channels=2).eval()


def own_field(net: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        field: torch.Tensor = net(images)[0]
    return field


def dice(field: torch.Tensor, labels: dict[str, torch.Tensor]) -> float:
    """Mean Dice of the labels after a field, linearly interpolated."""
    scores = []
    for label in (1, 2, 7):
        moved = warp((labels["moving"] == label).float()[None, None], field[None])[0, 0] > 0.5
        fixed = labels["fixed"] == label
        scores.append(float(2 * (moved & fixed).sum() / (moved.sum() + fixed.sum())))
    return float(np.mean(scores))


@pytest.fixture(autouse=True)
def _logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn on the logger, which MONAI's logging and `sacb batch` turn off."""
    monkeypatch.setattr(module.logger, "disabled", False)
    monkeypatch.setattr(module.logger, "level", 10)


@pytest.fixture(scope="module", params=["weights", "field"])
def refined(request: pytest.FixtureRequest) -> tuple[SACBNet, torch.Tensor, dict[str, torch.Tensor], Refined]:
    net = network()
    images, labels = tensors()
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "weights":
            patch.setattr(module, "_optimises_weights", lambda device: True)
            patch.setattr(module, "CORRECTION_SHARE", 0.0)
        return net, images, labels, Refiner(net, Refinement(25, "lncc"))(images, own_field(net, images))


def test_a_refinement_lowers_the_loss_and_raises_dice(
    refined: tuple[SACBNet, torch.Tensor, dict[str, torch.Tensor], Refined],
) -> None:
    net, images, labels, result = refined
    own = own_field(net, images)
    assert result.used
    assert len(result.losses) == 26
    assert result.losses[0] == pytest.approx(
        LocalNCCLoss(7)(warp(images[:, :1], own[None]), images[:, 1:]).item()
        + 0.7 * float(torch.stack([own.diff(dim=axis).square().mean() for axis in (1, 2, 3)]).mean())
        + 30 * float((0.1 - jacobian_determinant(own)).clamp(min=0).mean()),
        abs=1e-5,
    )
    assert result.losses[result.best_step] == min(result.losses) < result.losses[0] - 0.05
    assert dice(result.field, labels) > dice(own, labels) + 0.03
    assert folding_percentage(result.field) <= max(folding_percentage(own), 0.01)


def test_the_weights_of_the_network_stay(
    refined: tuple[SACBNet, torch.Tensor, dict[str, torch.Tensor], Refined],
) -> None:
    net, expected = refined[0], network().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[needs_gpu, pytest.mark.gpu])])
def test_a_pair_gives_the_same_bytes_after_another_pair(device: str) -> None:
    net = network().to(device)
    refiner = Refiner(net, Refinement(6, "lncc"))
    pairs = [tensors(seed)[0].to(device) for seed in range(2)]
    with torch.no_grad():  # as in MONAI's evaluators
        first, other, again = (refiner(pairs[number], own_field(net, pairs[number])) for number in (0, 1, 0))
    fresh = Refiner(net, Refinement(6, "lncc"))(pairs[0], own_field(net, pairs[0]))
    assert first.losses == again.losses == fresh.losses != other.losses
    assert torch.equal(first.field, again.field)
    assert torch.equal(first.field, fresh.field)


def test_the_field_is_corrected_after_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_optimises_weights", lambda device: True)
    net, (images, _) = network(), tensors()
    result = Refiner(net, Refinement(5, "lncc"))(images, own_field(net, images))
    assert len(result.losses) == 5 + 2 + 1
    assert result.best_step == 7
    assert result.losses[7] < result.losses[6] < min(result.losses[:6])


def test_a_correction_of_any_shape_starts_at_the_field() -> None:
    field = torch.rand(3, 6, 7, 9)
    correction = FieldCorrection(field)
    assert torch.equal(correction(torch.zeros(1, 2, 6, 7, 9))[0], field)
    correction.load_state_dict({"field": field[None], "correction": torch.ones(1, 3, 3, 4, 5)})
    torch.testing.assert_close(correction(torch.zeros(1, 2, 6, 7, 9))[0], field + 2)


@pytest.mark.usefixtures("weights_alone")
def test_the_best_step_is_kept_if_the_rate_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "lncc", replace(METHODS["lncc"], rate=0.3))
    net, (images, _) = network(), tensors()
    own = own_field(net, images)
    result = Refiner(net, Refinement(4, "lncc"))(images, own)
    assert max(result.losses[1:]) > result.losses[0] or not all(map(math.isfinite, result.losses))
    if result.used:
        assert result.losses[result.best_step] == min(loss for loss in result.losses if math.isfinite(loss))
    else:
        assert torch.equal(result.field, own)


class Scripted(torch.nn.Module):
    """Network whose fields are given, and whose loss depends on a weight."""

    def __init__(self, *fields: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.fields, self.calls = fields, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        field = self.fields[min(self.calls, len(self.fields) - 1)]
        self.calls += 1
        return field + 0 * self.weight


def shift(voxels: float) -> torch.Tensor:
    field = torch.zeros(1, 3, *SHAPE)
    field[:, 0] = voxels
    return field


def shifted_pair() -> torch.Tensor:
    """A pair that agrees after a shift by 2 voxels."""
    image = tensors()[0][:, 1:]
    return torch.cat([image.roll(2, dims=2), image], dim=1)


@pytest.mark.parametrize(
    ("fields", "best", "reason"),
    [
        ([0.0, 1.0, 2.0, 5.0], 2, ""),
        ([0.0, 1.0, math.nan, 2.0], 1, ""),
        ([2.0, 1.0, 0.0], 0, "no step lowers the loss"),
        ([math.nan, 1.0], 0, "the loss is not finite"),
    ],
)
@pytest.mark.usefixtures("weights_alone")
def test_the_best_of_all_steps_is_taken(fields: list[float], best: int, reason: str) -> None:
    net = Scripted(*map(shift, fields))
    own = shift(fields[0])[0]
    result = Refiner(net, Refinement(len(fields) - 1, "lncc"))(shifted_pair(), own)
    assert (result.best_step, result.reason, result.used) == (best, reason, not reason)
    torch.testing.assert_close(result.field, own if reason else shift(fields[best])[0], equal_nan=True)


@pytest.mark.parametrize(
    ("similarity", "start", "better", "reason"),
    [
        ("lncc", "rough", "smooth", rf"{LESS} \(lncc (0\.\d{{4}}) before, (0\.\d{{4}}) after\)"),
        ("mi", "rough", "smooth", rf"{LESS} \(mi (\d\.\d{{4}}) before, (\d\.\d{{4}}) after\)"),
        ("mind", "rough", "smooth", rf"{LESS} \(mind distance (0\.\d{{4}}) before, (0\.\d{{4}}) after\)"),
        ("lncc", "smooth", "folded", r"it folds at (\d+\.\d{3}) % of the voxels instead of (0\.000) %"),
    ],
)
@pytest.mark.usefixtures("weights_alone")
def test_a_result_that_is_worse_is_not_used(
    similarity: str,
    start: str,
    better: str,
    reason: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The rough field matches the images, but is costly; the folded one lowers the loss, as regularity costs little.
    monkeypatch.setattr(optimise, "FOLDING_WEIGHT", 0.0)
    folded = shift(2.0)
    folded[:, 0, :6] -= 4 * torch.arange(6.0).reshape(6, 1, 1)
    rough = shift(2.0)
    rough[:, 1, ::2, ::2, :4] = 3.0
    fields = {"rough": rough, "smooth": shift(0.0), "folded": folded}
    if better == "folded":
        fields["smooth"] = shift(1.0)
    refinement = Refinement(1, similarity, smoothness=5.0 if start == "rough" else 1e-4)
    own = fields[start][0]
    result = Refiner(Scripted(*2 * (fields[start], fields[better])), refinement)(shifted_pair(), own)
    found = re.fullmatch(reason, result.reason)
    assert found is not None, result.reason
    first, second = map(float, found.groups())
    assert (first < second) == (similarity == "mind")
    assert result.losses[1] < result.losses[0]
    assert torch.equal(result.field, own)
    assert f"The refinement is not used, and the field is the network's own: {result.reason}" in caplog.text


@pytest.mark.usefixtures("weights_alone")
def test_outside_of_the_masks_nothing_counts() -> None:
    net = Scripted(shift(0.0), shift(2.0))
    images = shifted_pair()
    masks = torch.zeros_like(images)
    masks[..., 8:24, 8:24, 8:24] = 1
    other = images.clone()
    other[..., :3] = torch.rand(other[..., :3].shape, generator=torch.Generator().manual_seed(0))
    results = [
        Refiner(Scripted(*net.fields), Refinement(1, "lncc"))(given, shift(0.0)[0], masks) for given in (images, other)
    ]
    assert results[0].losses == results[1].losses
    with pytest.raises(InputError, match="The masks leave nothing to compare"):
        Refiner(net, Refinement(1))(images, shift(0.0)[0], torch.zeros_like(images))


def test_out_of_memory_keeps_the_field_of_the_network(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Optimiser, "_loss_and_field", full)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**8, 10**9))
    net, (images, _) = network(), tensors()
    own = own_field(net, images)
    refiner = Refiner(net, Refinement(2, "mind"))
    result = refiner(images, own)
    assert torch.equal(result.field, own)
    assert result.facts["loss_curve"] == []
    assert "GB of GPU memory, of which 0.1 GB are free" in caplog.text
    monkeypatch.undo()
    assert len(refiner(images, own).losses) == 3


def test_the_curve_in_the_record_is_short() -> None:
    field = torch.zeros(3, 2, 2, 2)
    result = Refined(field, 1000, "lncc", tuple(1.0 / (1 + step) for step in range(1001)), best_step=1000)
    facts = result.facts
    assert 40 <= len(facts["loss_curve"]) <= 50
    assert (facts["loss_before"], facts["loss_after"]) == (1.0, 1 / 1001)
    assert Refined(field, 1, "mi", (math.nan, 0.5), 1).facts["loss_curve"] == [None, 0.5]
    assert Refined(field).facts == {
        "refine_steps": 0, "refined": False, "refine_reason": "", "refine_similarity": "", "refine_best_step": 0,
        "loss_before": None, "loss_after": None, "loss_curve": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": -1}, "refine is -1; it must be a whole number of steps from 0 to 1000"),
        ({"refine": 1001}, "refine is 1001"),
        ({"refine": True}, "refine is True"),
        ({"refine": 5, "similarity": "ncc"}, "similarity is 'ncc'; it must be one of auto, lncc, mind, mi"),
        ({"refine": 5, "smoothness": 0}, "smoothness is 0; it must be a finite number above 0"),
        ({"refine": 5, "smoothness": math.nan}, "smoothness is nan"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sacb.Registrar(device="cpu", **options)


def test_the_default_is_the_network_alone_on_the_cpu() -> None:
    devices = ("cpu", "cuda:1")
    assert [default_steps(device, WeightsInfo()) for device in devices] == [0, 50]
    assert [default_steps(device, WeightsInfo(refine=0)) for device in devices] == [0, 0]


@pytest.mark.parametrize("inverted", [False, True])
def test_the_registrar_refines_and_says_how(inverted: bool) -> None:
    fixed, moving = sacb.phantom_images(SHAPE, amplitude=0.7)
    if inverted:
        values = moving.values
        moving = sacb.Volume(np.where(values > 15, 255 - values, values).astype(np.uint8), moving.grid)
    registrar = sacb.Registrar(device="cpu", initial="none", refine=2)
    measures = registrar(fixed, moving).measures()
    assert measures["refine_similarity"] == ("mind" if inverted else "lncc")
    assert measures["refine_steps"] == 2
    assert len(measures["loss_curve"]) == 3
    assert measures["refined"] == (not measures["refine_reason"])


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("similarity", list(METHODS))
def test_replayed_steps_give_what_eager_steps_give(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network().cuda()
    images = tensors()[0].cuda()
    own = own_field(net, images)
    replayed = [Refiner(net, Refinement(8, similarity))(images, own)]
    monkeypatch.setattr(optimise, "Captured", lambda function: function)
    eager = Refiner(net, Refinement(8, similarity))(images, own)
    assert replayed[0].losses == eager.losses
    assert torch.equal(replayed[0].field, eager.field)


@needs_gpu
@pytest.mark.gpu
def test_steps_wait_for_nothing() -> None:
    net = network().cuda()
    images = tensors()[0].cuda()
    optimiser = Optimiser(net, METHODS["lncc"], None, 1e-3)
    optimiser.run(images, None, 5)  # captures
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            optimiser._step(images)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("weights_alone")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit")
def test_a_traced_network_is_refined_as_well() -> None:
    """As of `model.ts` in MONAI Label."""
    images, _ = tensors()
    network = SACBNet(base_channels=2, num_clusters=2).eval()
    with torch.no_grad():
        traced = torch.jit.trace(network, images, check_trace=False)
        weights = [parameter.clone() for parameter in traced.parameters()]
        results = [Refiner(net, Refinement(2, "lncc"))(images, net(images)[0]) for net in (network, traced)]
    assert results[1].losses[0] == pytest.approx(results[0].losses[0], abs=1e-4)
    assert results[1].losses[2] < results[1].losses[0]
    assert all(map(torch.equal, weights, traced.parameters()))
