"""Reading of weights: the bundle's own, and those of the published implementation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from ..files import whole_file
from .sacb_net import SACBNet

# Parameter names of the published implementation, and ours. "{level - 1}" counts its levels from 0.
PUBLISHED_NAMES = (
    (r"encoder\.conv0\.(\d)\.conv\.(\w+)", r"encoder.levels.0.\1.convolution.\2"),
    (r"encoder\.conv([1-4])\.1\.conv\.(\w+)", r"encoder.levels.\1.0.convolution.\2"),
    (r"encoder\.conv([1-4])\.2\.conv\.(\w+)", r"encoder.levels.\1.1.convolution.\2"),
    (r"conv1\.1\.conv\.(\w+)", r"refinement.features.0.convolution.\1"),
    (r"conv1\.2\.conv\.(\w+)", r"refinement.features.1.convolution.\1"),
    (r"sacb_proj([2-5])\.w", r"sacb.\1.weight"),
    (r"sacb_proj([2-5])\.get_kernel\.(\d)\.(\w+)", r"sacb.\1.tap_mlp.\2.\3"),
    (r"sacb_proj([2-5])\.get_bias\.(\d)\.(\w+)", r"sacb.\1.bias_mlp.\2.\3"),
    (r"sacb_proj([2-5])\.proj_in\.conv\.(\w+)", r"sacb.\1.input_conv.convolution.\2"),
    (r"conv1_out\.1\.conv\.(\w+)", r"refinement.fusion.0.convolution.\1"),
    (r"conv1_out\.2\.conv\.(\w+)", r"refinement.fusion.1.convolution.\1"),
    (r"conv1_out\.3\.conv\.(\w+)", r"refinement.displacement.\1"),
)
PUBLISHED_BUFFER = re.compile(r"transformer\.\d+\.grid")


def load_checkpoint(network: nn.Module, path: str | Path) -> nn.Module:
    """Fill a network with the weights of a file.

    Args:
        network: any module.
        path: a state dict, or a dict that holds one under "network" or "model" (as MONAI's handlers save).

    Returns:
        the network.

    Raises:
        InputError: if the file is missing, is no state dict, or its keys or shapes are not the network's.
    """
    content = read_weights(path)
    state = next((content[key] for key in ("network", "model") if isinstance(content.get(key), Mapping)), content)
    check_keys(state, network.state_dict(), path)
    network.load_state_dict(state)
    return network


def load_published_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Translate a checkpoint of the published implementation.

    Args:
        path: a dict with the key "state_dict": the published parameter names, and "transformer.*.grid" buffers,
            which are left out.

    Returns:
        state dict for a `SACBNet` with the base channels and the descriptor that the shapes tell.

    Raises:
        InputError: if the file is missing, is no such dict, or has unknown, missing or misshapen keys: they are
            listed.
    """
    content = read_weights(path)
    published = content.get("state_dict")
    if not isinstance(published, Mapping):
        raise InputError(f'{path}: a published checkpoint holds a dict "state_dict"; this one has {list(content)}.')
    weights = {str(name): value for name, value in published.items()}
    state = {translate(name): value for name, value in weights.items() if not PUBLISHED_BUFFER.fullmatch(name)}
    check_keys(state, network_like(state).state_dict(), path)
    return state


def translate(published_name: str) -> str:
    """Our name of a published parameter; the name itself if it is unknown."""
    for pattern, ours in PUBLISHED_NAMES:
        if re.fullmatch(pattern, published_name):
            return re.sub(pattern, ours, published_name)
    return published_name


def network_like(state: Mapping[str, torch.Tensor]) -> SACBNet:
    """The SACBNet whose options the shapes of a state dict tell, with the defaults where they tell nothing."""
    first, tap_mlp = (
        getattr(state.get(name), "shape", ())
        for name in ("encoder.levels.0.0.convolution.weight", "sacb.2.tap_mlp.0.weight")
    )
    base_channels = first[0] if first else 4
    descriptor_size = tap_mlp[-1] if tap_mlp else 4 * base_channels
    descriptor = {4 * base_channels: "spatial", 27: "channel"}.get(descriptor_size, "mix")
    return SACBNet(base_channels=base_channels, descriptor=descriptor)


def read_weights(path: str | Path) -> dict:
    """Read a file of tensors without running code from it."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such checkpoint file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged file makes of the unpickler cannot be foreseen
        raise InputError(f"{path}: not a checkpoint of weights; nothing in it was executed.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; a checkpoint is a dict of weights.")
    return content


def write_whole(content: dict, path: Path) -> None:
    """Save a dict of weights so that the file appears whole or not at all."""
    with whole_file(path) as unfinished:
        torch.save(content, unfinished)


def check_keys(state: object, expected: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise an InputError that lists unknown, missing and misshapen keys."""
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: holds a {type(state).__name__} where a dict of weights should be.")
    problems = {
        "unknown keys": sorted(map(str, state.keys() - expected.keys())),
        "missing keys": sorted(expected.keys() - state.keys()),
        "misshapen keys": [
            f"{name} {tuple(getattr(state[name], 'shape', ()))} instead of {tuple(expected[name].shape)}"
            for name in expected
            if name in state and getattr(state[name], "shape", None) != expected[name].shape
        ],
    }
    found = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
    if found:
        raise InputError(f"{path}: not a checkpoint of this network. {found}.")
