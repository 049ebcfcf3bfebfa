from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sacb_bundle.experiments import METHODS, Method, Runs
from sacb_bundle.networks import NETWORKS


class TinyNet(nn.Module):
    """A network of few parameters, whose number grows with its width."""

    size_divisor = 16

    def __init__(self, width: int = 2, shift: float = 0.0) -> None:
        super().__init__()
        self.options = {"width": width, "shift": shift}
        self.layers = nn.Sequential(nn.Conv3d(2, width, 3, padding=1), nn.ReLU(), nn.Conv3d(width, 3, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers(image) + self.options["shift"]


@pytest.fixture(scope="session", autouse=True)
def tiny() -> Iterator[None]:
    """Register the network and its method."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "TinyNet", TinyNet)
        patch.setitem(METHODS, "tiny", Method(trained={"name": "TinyNet", "width": 2}))
        yield


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A config of a training of one step."""
    path = tmp_path_factory.mktemp("config") / "small.json"
    network = {"_target_": f"{__name__}.TinyNet", "width": 2}
    content: dict[str, Any] = {"initial": "none", "pairs_per_epoch": 1, "max_epochs": 1, "network_def": network}
    path.write_text(json.dumps(content))
    return str(path)


def runs(dataset: Path, output: Path, config: str | None = None, **options: Any) -> Runs:
    return Runs(dataset, output, config=config, device="cpu", jobs=0, **options)


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
