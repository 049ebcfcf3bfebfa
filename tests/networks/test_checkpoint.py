from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from sacb_bundle.errors import InputError
from sacb_bundle.networks import SACBNet, WeightsInfo, load_checkpoint, load_published_checkpoint, write_weights
from tests.golden_case import CASES, GoldenCase


def published_file(path: Path, state: dict) -> Path:
    torch.save({"state_dict": state | {f"transformer.{i}.grid": torch.zeros(3) for i in range(2)}}, path)
    return path


@pytest.mark.parametrize("name", CASES)
def test_published_checkpoint_fills_our_network(name: str, tmp_path: Path) -> None:
    case = GoldenCase(name)
    state = load_published_checkpoint(published_file(tmp_path / "published.pt", case.published_state))
    expected = case.network(replay=False).state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)


def test_published_checkpoint_with_wrong_keys_lists_them(tmp_path: Path) -> None:
    state = GoldenCase(CASES[0]).published_state
    state["decoder.weight"] = torch.zeros(2)
    del state["conv1.1.conv.bias"]
    state["sacb_proj4.w"] = torch.zeros(3)
    with pytest.raises(InputError) as error:
        load_published_checkpoint(published_file(tmp_path / "published.pt", state))
    message = str(error.value)
    assert "unknown keys: decoder.weight" in message
    assert "missing keys: refinement.features.0.convolution.bias" in message
    assert "misshapen keys: sacb.4.weight (3,) instead of (64, 64, 27)" in message


def test_published_checkpoint_without_its_first_layer(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing keys"):
        load_published_checkpoint(published_file(tmp_path / "published.pt", {"a": torch.zeros(1)}))


@pytest.mark.parametrize(
    "wrap", [lambda state: state, lambda state: {"model": state}, lambda state: {"network": state}]
)
def test_own_checkpoint_in_the_forms_that_monai_saves(wrap, tmp_path: Path) -> None:
    source, target = SACBNet(base_channels=2), SACBNet(base_channels=2)
    torch.save(wrap(source.state_dict()), tmp_path / "model.pt")
    load_checkpoint(target, tmp_path / "model.pt")
    for name, value in source.state_dict().items():
        assert torch.equal(value, target.state_dict()[name])


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.pt: no such checkpoint file"):
        load_checkpoint(SACBNet(base_channels=2), tmp_path / "nowhere.pt")


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_pickle_is_refused_and_never_executed(save, tmp_path: Path) -> None:
    save(Malicious(tmp_path / "executed"), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: not a checkpoint of weights"):
        load_checkpoint(SACBNet(base_channels=2), tmp_path / "model.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_garbage_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt"):
        load_checkpoint(SACBNet(base_channels=2), tmp_path / "model.pt")


def test_tensor_that_is_no_state_dict(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "model.pt")
    with pytest.raises(InputError, match="holds a Tensor"):
        load_checkpoint(SACBNet(base_channels=2), tmp_path / "model.pt")


UNFIT = {
    "bool": lambda value: value > 0,
    "int8": lambda value: value.to(torch.int8),
    "int64": lambda value: value.to(torch.int64),
    "complex64": lambda value: value.to(torch.complex64),
    "NaN or infinite": lambda value: torch.where(value == value.max(), torch.nan, value),
    "not a plain tensor": lambda value: value.to_sparse(),
}


@pytest.mark.parametrize("fault", [*UNFIT, "infinite", "meta", "too large"])
def test_values_that_are_no_weights_are_refused_by_name(fault: str, tmp_path: Path) -> None:
    make, shown = {
        "infinite": (lambda value: value / 0, "NaN or infinite"),
        "meta": (lambda value: value.to("meta"), "not a plain tensor"),
        "too large": (lambda value: torch.full_like(value, 1e300, dtype=torch.float64), "NaN or infinite"),
    }.get(fault, (UNFIT.get(fault), fault))
    state = SACBNet(base_channels=2).state_dict()
    state["sacb.2.weight"] = make(state["sacb.2.weight"])
    for name, content in (("own", state), ("wrapped", {"network": state})):
        torch.save(content, tmp_path / f"{name}.pt")
        with pytest.raises(InputError, match=rf"{name}\.pt: .* unfit values: sacb\.2\.weight \({shown}\)\.$"):
            load_checkpoint(SACBNet(base_channels=2), tmp_path / f"{name}.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_converted(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {name: value.to(dtype) for name, value in SACBNet(base_channels=2).state_dict().items()}
    torch.save(state, tmp_path / "model.pt")
    loaded = load_checkpoint(SACBNet(base_channels=2), tmp_path / "model.pt").state_dict()
    assert all(torch.equal(value, state[name].float()) for name, value in loaded.items())


def test_an_error_lists_a_few_names_of_many(tmp_path: Path) -> None:
    torch.save({"model": {"model": SACBNet(base_channels=2).state_dict()}}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"unknown keys: model; missing keys: .* and \d+ more\.$") as error:
        load_checkpoint(SACBNet(base_channels=2), tmp_path / "model.pt")
    assert len(str(error.value)) < 1000


def test_equal_weights_have_equal_bytes(tmp_path: Path) -> None:
    network = SACBNet(base_channels=2)
    stacked = {name: torch.stack([value, value])[1] for name, value in network.state_dict().items()}
    for path, state in (("a.pt", network.state_dict()), ("other/b.model.pt", stacked)):
        write_weights(state, WeightsInfo(), tmp_path / path)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other" / "b.model.pt").read_bytes()
    copied = load_checkpoint(SACBNet(base_channels=2), tmp_path / "a.pt")
    write_weights(copied.state_dict(), WeightsInfo(), tmp_path / "c.pt")
    assert (tmp_path / "c.pt").read_bytes() == (tmp_path / "a.pt").read_bytes()
