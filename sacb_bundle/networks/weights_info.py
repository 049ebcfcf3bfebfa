"""The file that describes weights: their network, and the images that they were trained on."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ..checks import check_spacing
from ..errors import InputError
from ..files import read_json, write_json
from ..intensities import check_modality
from .baselines import FourierNet, Im2Grid, LapIRN, LKUNet, ModeT, VoxelMorph
from .checkpoint import load_checkpoint, write_whole
from .sacb_net import SACBNet

# Networks that a description may name. Add yours: NETWORKS["MyNet"] = MyNet.
NETWORKS: dict[str, type[nn.Module]] = {
    network.__name__: network for network in (SACBNet, VoxelMorph, LKUNet, FourierNet, LapIRN, ModeT, Im2Grid)
}


LARGEST_BODY_MM = 1e6


class RegistrationNetwork(Protocol):
    """The contract of a network, besides being an `nn.Module` from (B, 2, D, H, W) to (B, 3, D, H, W).

    Attributes:
        size_divisor: number by which each of D, H and W must be divisible.
        options: arguments of the constructor, JSON types only.
    """

    size_divisor: int
    options: dict[str, Any]


@dataclass(frozen=True)
class WeightsInfo:
    """The description of a weights file.

    Attributes:
        network: {"name": one of `NETWORKS`, and its options}.
        spacing_mm: spacing of the grids that the network was trained on.
        modality: rule that scaled the intensities, see `sacb_bundle.intensities`.
        trained_on: description of the training data.
        body_mm: sizes of the smallest and the largest bodies in the training images, see `sacb_bundle.spatial.Body`;
            None if unknown.
        refine: number of steps that refine a pair on a GPU by default; 0 where they do harm.
    """

    network: dict[str, Any] = field(default_factory=lambda: {"name": "SACBNet"})
    spacing_mm: float = 2.0
    modality: str = "mr"
    trained_on: str = ""
    body_mm: tuple[float, float] | None = None
    refine: int = 50


def info_path(weights: str | Path) -> Path:
    """Return the path of the JSON file that belongs to a file of weights.

    Args:
        weights: path of the weights, such as models/model.pt.

    Returns:
        The path beside it, such as models/model.json.
    """
    return Path(weights).with_suffix(".json")


def read_info(weights: str | Path) -> WeightsInfo:
    """Read the description of a weights file.

    Args:
        weights: path of the weights, such as models/model.pt; the description is model.json beside it.

    Returns:
        The description, after checking it.

    Raises:
        InputError: if the weights or the JSON file are missing, it does not describe weights, or there is no rule for
            its modality.
    """
    if not Path(weights).name:  # "." or "/"
        raise InputError(f"{weights}: is a folder; a checkpoint file is needed.")
    path = info_path(weights)
    if not os.path.isfile(path) and not os.path.isfile(weights):
        raise InputError(f"{weights}: no such checkpoint file.")
    if not os.path.isfile(path):
        raise InputError(
            f"{path}: no such file. It says which network, spacing and intensities {Path(weights).name} was trained "
            "with; training writes it beside the weights, so copy both."
        )
    content = read_json(path)
    if not isinstance(content, dict) or not content.keys() <= WeightsInfo.__dataclass_fields__.keys():
        raise InputError(f"{path}: must hold an object with the keys {', '.join(WeightsInfo.__dataclass_fields__)}.")
    if isinstance(content.get("body_mm"), list):  # JSON has no tuples
        content["body_mm"] = tuple(content["body_mm"])
    info = WeightsInfo(**content)
    check_info(info, path)
    check_modality(info.modality, f"{path}: modality")
    return info


def check_info(info: WeightsInfo, path: Path) -> None:
    """Check that every value of a description has its type, and that the network is known.

    Args:
        info: description of weights.
        path: path of its JSON file, for the error message.

    Raises:
        InputError: if a value is of another type or out of range, or the network is not one of `NETWORKS`.
    """
    name = info.network.get("name") if isinstance(info.network, dict) else None
    if not isinstance(name, str) or name not in NETWORKS:
        raise InputError(f"{path}: names the network {name!r}; the known networks are {', '.join(NETWORKS)}.")
    check_spacing(info.spacing_mm, f"{path}: spacing_mm")
    if info.body_mm is not None and not _are_sizes(info.body_mm):
        raise InputError(f"{path}: body_mm is {info.body_mm!r}; it must be two lengths in mm, ascending, or null.")
    if type(info.refine) is not int or info.refine < 0:
        raise InputError(f"{path}: refine is {info.refine!r}; it must be a number of steps, 0 or more.")
    for key in ("modality", "trained_on"):
        if not isinstance(getattr(info, key), str):
            raise InputError(f"{path}: {key} is {getattr(info, key)!r}; it must be text.")


def _are_sizes(value: object) -> bool:
    """Return whether a value is a pair of lengths in mm, the smaller one first."""
    if not isinstance(value, tuple) or len(value) != 2 or any(type(size) not in (int, float) for size in value):
        return False
    return 0 < value[0] <= value[1] < LARGEST_BODY_MM


def write_info(info: WeightsInfo, weights: str | Path) -> None:
    """Write the description of a weights file beside it; the file appears only once it is complete.

    Args:
        info: description of the weights.
        weights: path of the weights, such as models/model.pt; model.json is written beside it.

    Raises:
        InputError: if the file cannot be written.
    """
    write_json(asdict(info), info_path(weights))


def write_weights(state: dict[str, torch.Tensor], info: WeightsInfo, path: Path) -> None:
    """Write weights and, beside them, their description; each file appears only once it is complete.

    Args:
        state: state dict of the network.
        info: description of the weights.
        path: path of the weights.

    Raises:
        InputError: if a file cannot be written.
    """
    # Copies in a plain dict, so that equal weights give equal bytes.
    write_whole({name: value.detach().cpu().contiguous().clone() for name, value in state.items()}, path)
    write_info(info, path)


def describe(network: RegistrationNetwork) -> dict[str, Any]:
    """Return the name and options of a network, as `WeightsInfo.network` holds them.

    Args:
        network: network of one of the classes in `NETWORKS`.

    Returns:
        {"name": name of the class} and the options; `build_network` takes it.
    """
    return {"name": type(network).__name__, **network.options}


def build_network(description: Mapping[str, Any], **changes: Any) -> nn.Module:
    """Build the network of a description, without its weights.

    Args:
        description: `WeightsInfo.network`.
        changes: options that replace those of the description, such as max_iterations=9.

    Returns:
        The network, with newly initialised weights.

    Raises:
        InputError: if the network does not have such options.
    """
    name, options = description["name"], {key: value for key, value in description.items() if key != "name"} | changes
    known = inspect.signature(NETWORKS[name]).parameters
    if unknown := sorted(options.keys() - known.keys()):
        raise InputError(f"{name} has no option {unknown[0]!r}; it has {', '.join(known)}.")
    try:
        return NETWORKS[name](**options)
    except InputError:
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError, MemoryError) as error:
        shown = ", ".join(f"{key} {value!r}" for key, value in options.items())
        raise InputError(f"{name} cannot be built with {shown or 'its defaults'}.") from error


def network_for(weights: str | Path, **changes: Any) -> nn.Module:
    """Build the network of a weights file, without loading the weights.

    Args:
        weights: path of the weights.
        changes: options that replace those of the training.

    Returns:
        The network, with newly initialised weights.

    Raises:
        InputError: as in `read_info` and `build_network`.
    """
    return _built(read_info(weights), weights, changes)


def load_network(weights: str | Path, device: str | torch.device) -> tuple[nn.Module, WeightsInfo]:
    """Build the network of a file of weights and load them, ready for inference on a device.

    Args:
        weights: path of the weights, with their description beside it.
        device: device of the network.

    Returns:
        The network in evaluation mode, and the description of its weights.

    Raises:
        InputError: as in `read_info`, `build_network` and `load_checkpoint`.
    """
    info = read_info(weights)
    network = _built(info, weights, {})
    return load_checkpoint(network, weights).to(device).eval(), info


def _built(info: WeightsInfo, weights: str | Path, changes: Mapping[str, Any]) -> nn.Module:
    """Build the network of a description; an error names its JSON file, unless changed options may be at fault."""
    try:
        return build_network(info.network, **changes)
    except InputError as error:
        raise error if changes else InputError(f"{info_path(weights)}: network: {error}") from error
