from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from sacb_bundle.errors import InputError
from sacb_bundle.files import file_hash, shipped_weights, weights_path
from sacb_bundle.networks import (
    NETWORKS,
    SACBNet,
    WeightsInfo,
    describe,
    hash_of_weights,
    load_network,
    network_for,
    read_info,
    write_info,
)

SMALL = {"base_channels": 2, "num_clusters": [3, 4, 5, 6], "sacb_levels": [4, 3], "max_iterations": 2}


def test_weights_alone_are_enough(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = SACBNet(**SMALL).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    write_info(WeightsInfo(describe(network), 1.5, "ct", "scans"), tmp_path / "mine.pt")
    loaded, info = load_network(tmp_path / "mine.pt", "cpu")
    assert (info.spacing_mm, info.modality, info.trained_on) == (1.5, "ct", "scans")
    assert hash_of_weights(loaded) == file_hash(tmp_path / "mine.pt")
    image = torch.rand(1, 2, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(image), network(image))
    assert network_for(tmp_path / "mine.pt", max_iterations=7).options == network.options | {"max_iterations": 7}


@pytest.mark.parametrize(
    ("weights", "options", "modality"),
    [
        (shipped_weights(), {"scaled_matching": True, "integration_steps": 5}, "auto"),
        (weights_path("abdomen_ct"), {"scaled_matching": True, "integration_steps": 5}, "ct"),
        (weights_path("brain_t1"), {}, "mr"),
    ],
)
def test_the_weights_that_ship_are_described(weights: Path, options: dict, modality: str) -> None:
    network, info = load_network(weights, "cpu")
    assert info.network == describe(network) == describe(SACBNet(**options))
    assert (info.spacing_mm, info.modality) == (2.0, modality)


def test_shipped_weights_are_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brain = shipped_weights().parent / "specialists" / "brain_t1.pt"
    assert weights_path("brain_t1") == brain
    monkeypatch.chdir(tmp_path)
    assert weights_path("model.pt") == Path("model.pt")
    assert weights_path("none") == Path("none")
    assert weights_path("runs/brain_t1") == Path("runs/brain_t1")
    (tmp_path / "brain_t1").touch()  # the user's own file comes first
    assert weights_path("brain_t1") == Path("brain_t1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"model\.json: no such file\. It says which network, spacing and intensities model\.pt"),
        ("[]", "must hold an object with the keys network, spacing_mm, modality, trained_on, body_mm"),
        ("{", "not valid JSON"),
        (
            {"network": {"name": "os.system", "command": "true"}},
            "names the network 'os.system'; the known networks are SACBNet",
        ),
        ({"network": "SACBNet"}, "names the network None"),
        (
            {"network": {"name": "SACBNet", "layers": 3}},
            "json: network: SACBNet has no option 'layers'; it has base_ch",
        ),
        ({"spacing_mm": 0}, r"model\.json: spacing_mm is 0; it must be a number of mm from 0\.01 to 100\.$"),
        ({"spacing_mm": 5000}, r"model\.json: spacing_mm is 5000; it must be a number of mm"),
        ({"spacing_mm": True}, "spacing_mm is True"),
        ({"body_mm": -1}, "body_mm is -1; it must be two lengths in mm, ascending, or null"),
        ({"body_mm": [2, 1]}, r"body_mm is \(2, 1\); it must be two lengths in mm, ascending, or null"),
        ({"body_mm": [1, "2"]}, r"body_mm is \(1, '2'\); it must be two lengths in mm, ascending, or null"),
        ({"modality": 5}, r"model\.json: modality is 5; it must be text\.$"),
        ({"trained_on": None}, r"model\.json: trained_on is None; it must be text\.$"),
        ({"colour": "red"}, "must hold an object with the keys"),
    ],
)
def test_a_wrong_description_is_named(content: object, message: str, tmp_path: Path) -> None:
    torch.save(SACBNet().state_dict(), tmp_path / "model.pt")
    if content is not None:
        (tmp_path / "model.json").write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_network(tmp_path / "model.pt", "cpu")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("num_clusters", [1, 2], "num_clusters is [1, 2]; give one number, or one for each of [5, 4, 3, 2]."),
        ("num_clusters", "seven", "num_clusters is 'seven'; it must be a whole number of at least 2."),
        ("num_clusters", [7, 7, 7, None], "num_clusters is None; it must be a whole number of at least 2."),
        ("base_channels", "2", "base_channels is '2'; it must be a whole number of at least 1."),
        ("base_channels", 0, "base_channels is 0; it must be a whole number of at least 1."),
        ("base_channels", 2**20, "SACBNet cannot be built with base_channels 1048576."),
        ("max_iterations", 1.5, "max_iterations is 1.5; it must be a whole number of at least 1."),
        ("seed", None, "seed is None; it must be a whole number of at least 0."),
        ("sacb_levels", 5, "sacb_levels is 5; it must be a list, of [5, 4, 3, 2] at most."),
        ("sacb_levels", [6], "sacb_levels is [6]; it must be a list, of [5, 4, 3, 2] at most."),
        ("descriptor", ["mix"], "descriptor is ['mix']; it must be one of ['spatial', 'channel', 'mix']."),
        ("clustering_backend", {}, "clustering_backend is {}; it must be one of ['lloyd', 'torch-kmeans']."),
    ],
)
def test_a_wrong_option_of_the_network_is_named(option: str, value: object, expected: str, tmp_path: Path) -> None:
    torch.save({}, tmp_path / "model.pt")
    write_info(WeightsInfo({"name": "SACBNet", option: value}), tmp_path / "model.pt")
    for load in (lambda: load_network(tmp_path / "model.pt", "cpu"), lambda: network_for(tmp_path / "model.pt")):
        with pytest.raises(InputError) as error:
            load()
        assert str(error.value) == f"{tmp_path / 'model.json'}: network: {expected}"
    with pytest.raises(InputError) as error:  # the file is not at fault
        network_for(Path(shipped_weights()), **{option: value})
    assert not str(error.value).startswith("/")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.pt: no such checkpoint file"):
        read_info(tmp_path / "model.pt")


def test_a_network_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still(torch.nn.Module):
        size_divisor = 4

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.options = {"channels": channels}
            self.last = torch.nn.Conv3d(2, 3, 1)

    monkeypatch.setitem(NETWORKS, "Still", Still)
    network = Still(5)
    torch.save(network.state_dict(), tmp_path / "still.pt")
    write_info(WeightsInfo(describe(network)), tmp_path / "still.pt")
    loaded, _ = load_network(tmp_path / "still.pt", "cpu")
    assert (type(loaded), loaded.options) == (Still, {"channels": 5})
