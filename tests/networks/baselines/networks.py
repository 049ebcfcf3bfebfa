"""The networks that SACB-Net is compared with, small enough for tests."""

from __future__ import annotations

from typing import Any

import torch

from sacb_bundle.networks import build_network

SMALL: dict[str, dict[str, Any]] = {
    "VoxelMorph": {"variant": 1},
    "LKUNet": {"base_channels": 2},
    "FourierNet": {"base_channels": 4},
    "LapIRN": {"channels": 4},
    "ModeT": {"base_channels": 1},
    "Im2Grid": {"base_channels": 3},
}


def small(name: str) -> torch.nn.Module:
    """Build the small network of a name, always with the same weights."""
    torch.manual_seed(0)
    return build_network({"name": name, **SMALL[name]})
