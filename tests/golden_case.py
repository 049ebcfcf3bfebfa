"""Load the tensors recorded from the published implementation."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch

from sacb_bundle.networks import SACBNet
from sacb_bundle.networks.checkpoint import translate
from sacb_bundle.networks.sacb_net import MATCHING_LEVELS
from tests.clusters import Replay

GOLDEN = Path(__file__).parent / "golden"
CASES = ("spatial_c4_n5", "channel_c2_n5", "mix_c2_n3")


class GoldenCase:
    """A recorded case: its tensors, and the network with the weights it was recorded with."""

    def __init__(self, name: str) -> None:
        self.recorded = np.load(GOLDEN / f"{name}.npz")
        self.descriptor = name.split("_")[0]
        self.num_clusters = int(self.recorded["num_clusters"])

    def tensor(self, key: str) -> torch.Tensor:
        return torch.from_numpy(self.recorded[key])

    @property
    def image(self) -> torch.Tensor:
        return torch.stack([self.tensor("moving"), self.tensor("fixed")])[None]

    @property
    def published_state(self) -> dict[str, torch.Tensor]:
        state = {}
        for name, shape in zip(self.recorded["param_names"], self.recorded["param_shapes"], strict=True):
            size = tuple(int(length) for length in str(shape).split(","))
            bound = 0.1 if len(size) == 1 else 1 / np.sqrt(np.prod(size[1:]))
            values = np.random.RandomState(zlib.crc32(str(name).encode())).uniform(-bound, bound, size)
            state[str(name)] = torch.from_numpy(values.astype(np.float32))
        return state

    def clusters(self, level: int) -> dict[str, torch.Tensor]:
        """Return the recorded initial centroids, labels and centroids of a level, moving first, as in the network."""
        fixed_call = 2 * MATCHING_LEVELS.index(level)
        return {
            key: torch.stack([self.tensor(f"kmeans{call}_{key}") for call in (fixed_call + 1, fixed_call)])
            for key in ("init", "labels", "centroids")
        }

    def network(self, replay: bool = True) -> SACBNet:
        network = SACBNet(int(self.recorded["base_channels"]), self.num_clusters, self.descriptor)
        network.load_state_dict({translate(name): value for name, value in self.published_state.items()})
        if replay:
            for level in MATCHING_LEVELS:
                clusters = self.clusters(level)
                network.sacb[str(level)].clustering = Replay(clusters["labels"].long(), clusters["centroids"])
        return network
