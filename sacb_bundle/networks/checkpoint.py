"""Load weights of this bundle and of the published implementation."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from ..errors import InputError
from ..files import reading, whole_file
from .sacb_net import SACBNet

# Parameter names of the published implementation, and of `SACBNet`. "{level - 1}" counts its levels from 0.
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
# Number of tensor names that an error lists for each problem.
SHOWN_NAMES = 10
PUBLISHED_BUFFER = re.compile(r"transformer\.\d+\.grid")

# Attribute of a network for the hash of its weights.
_HASH = "_weights_hash"


def load_checkpoint(network: nn.Module, path: str | Path) -> nn.Module:
    """Load weights from a file into a network.

    Args:
        network: network to fill.
        path: file of weights, see `load_weights`.

    Returns:
        The network.

    Raises:
        InputError: see `load_weights`.
    """
    load_weights(network, path)
    return network


def load_weights(network: nn.Module, path: str | Path) -> str:
    """Load weights from a file into a network, and hash what was loaded.

    Args:
        network: network to fill.
        path: file with a state dict, or with a dict that holds one under "network" or "model" (as MONAI saves).

    Returns:
        The SHA-256 of the bytes that were loaded, in hexadecimal.

    Raises:
        InputError: if the file is missing or holds no state dict, or if its keys or shapes do not match the network.
    """
    content, sha256 = _read_and_hash(path)
    state = next((content[key] for key in ("network", "model") if isinstance(content.get(key), Mapping)), content)
    check_weights(state, network.state_dict(), path)
    network.load_state_dict(state)
    setattr(network, _HASH, sha256)
    return sha256


def hash_of_weights(network: nn.Module) -> str:
    """Return the hash of the weights that a network holds.

    Args:
        network: network, perhaps filled by `load_weights`.

    Returns:
        The SHA-256 of the bytes that were loaded, in hexadecimal; "" if none were.
    """
    return str(getattr(network, _HASH, ""))


def load_published_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Convert a checkpoint of the published implementation.

    Args:
        path: file with a dict whose key "state_dict" holds the published parameters. "transformer.*.grid" buffers are
            ignored.

    Returns:
        State dict for a `SACBNet` whose base channels and descriptor follow from the shapes.

    Raises:
        InputError: if the file is missing or holds no such dict, or has unknown, missing or misshapen keys (listed).
    """
    content = read_weights(path)
    published = content.get("state_dict")
    if not isinstance(published, Mapping):
        raise InputError(f'{path}: a published checkpoint holds a dict "state_dict"; found keys {list(content)}.')
    weights = {str(name): value for name, value in published.items()}
    state = {translate(name): value for name, value in weights.items() if not PUBLISHED_BUFFER.fullmatch(name)}
    check_weights(state, network_like(state).state_dict(), path)
    return state


def translate(published_name: str) -> str:
    """Translate a parameter name of the published implementation.

    Args:
        published_name: published name.

    Returns:
        Name in `SACBNet`, or the published name if it is unknown.
    """
    for pattern, ours in PUBLISHED_NAMES:
        if re.fullmatch(pattern, published_name):
            return re.sub(pattern, ours, published_name)
    return published_name


def network_like(state: Mapping[str, torch.Tensor]) -> SACBNet:
    """Build a SACBNet with the options that the shapes of a state dict imply, and defaults for the others.

    Args:
        state: state dict with the names of `SACBNet`; where a name is missing, the defaults apply.

    Returns:
        The network, with newly initialised weights.
    """
    first, tap_mlp = (
        getattr(state.get(name), "shape", ())
        for name in ("encoder.levels.0.0.convolution.weight", "sacb.2.tap_mlp.0.weight")
    )
    base_channels = first[0] if first else 4
    descriptor_size = tap_mlp[-1] if tap_mlp else 4 * base_channels
    descriptor = {4 * base_channels: "spatial", 27: "channel"}.get(descriptor_size, "mix")
    return SACBNet(base_channels=base_channels, descriptor=descriptor)


def read_weights(path: str | Path) -> dict:
    """Read a checkpoint file without executing code from it.

    Args:
        path: checkpoint file.

    Returns:
        Content of the file, on the CPU.

    Raises:
        InputError: if the file is missing or is not a dict of weights.
    """
    return _read_and_hash(path)[0]


def _read_and_hash(path: str | Path) -> tuple[dict, str]:
    """Read a checkpoint file once, see `read_weights`, and return its content and the SHA-256 of its bytes."""
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such checkpoint file.")
    with reading(path):
        stored = Path(path).read_bytes()
    try:
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise any error in the unpickler
        raise InputError(f"{path}: not a checkpoint of weights; nothing in it was executed.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}; a checkpoint must be a dict of weights.")
    return content, hashlib.sha256(stored).hexdigest()


def write_whole(content: dict, path: Path) -> None:
    """Save a dict of weights to a file that appears only once it is complete; its bytes do not depend on its name.

    Args:
        content: dict to save.
        path: file to write.

    Raises:
        InputError: if the file cannot be written.
    """
    archive = io.BytesIO()  # in a file, PyTorch would record the temporary name
    torch.save(content, archive)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(archive.getbuffer())


def check_weights(state: object, expected: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Check that a state dict has the expected keys and shapes, and values that can be weights.

    Args:
        state: state dict to check.
        expected: state dict of the network.
        path: file name for error messages.

    Raises:
        InputError: if `state` is not a dict, has unknown, missing or misshapen keys, or tensors of another type (such
            as bool, int8 or complex64, sparse or quantised) or with NaN or infinite values; names them.
    """
    if not isinstance(state, Mapping):
        raise InputError(f"{path}: holds a {type(state).__name__}; it must hold a dict of weights.")
    common = [name for name in expected if name in state]
    fitting = [name for name in common if getattr(state[name], "shape", None) == expected[name].shape]
    problems = {
        "unknown keys": sorted(map(str, state.keys() - expected.keys())),
        "missing keys": sorted(expected.keys() - state.keys()),
        "misshapen keys": [
            f"{name} {tuple(getattr(state[name], 'shape', ()))} instead of {tuple(expected[name].shape)}"
            for name in common
            if name not in fitting
        ],
        "unfit values": [
            f"{name} ({fault})" for name in fitting if (fault := _fault_in(state[name], expected[name].dtype))
        ],
    }
    found = "; ".join(f"{what}: {_first(names)}" for what, names in problems.items() if names)
    if found:
        hint = " A key option_... is an option of the network that the weights belong to." if "option_" in found else ""
        raise InputError(f"{path}: not a checkpoint of this network. {found}.{hint}")


def _fault_in(value: object, wanted: torch.dtype) -> str:
    """Return the reason why a value cannot be loaded into a tensor of a type; "" if it can."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta or value.is_quantized:
        return "not a plain tensor"
    if value.dtype != wanted and not (value.is_floating_point() and wanted.is_floating_point):
        return str(value.dtype).removeprefix("torch.")
    return "" if value.to(wanted).isfinite().all() else "NaN or infinite"


def _first(names: Sequence[str]) -> str:
    """Return the first names as text."""
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")
