"""SACB-Net and its blocks as separate modules.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .checkpoint import hash_of_weights, load_checkpoint, load_published_checkpoint, load_weights
from .clustering import LloydKMeans, TorchKMeans
from .matching import SimilarityMatching
from .sacb import SACB
from .sacb_net import SACBNet
from .weights_info import (
    NETWORKS,
    RegistrationNetwork,
    WeightsInfo,
    build_network,
    describe,
    info_path,
    load_network,
    network_for,
    read_info,
    write_info,
    write_weights,
)

__all__ = [
    "NETWORKS",
    "SACB",
    "LloydKMeans",
    "RegistrationNetwork",
    "SACBNet",
    "SimilarityMatching",
    "TorchKMeans",
    "WeightsInfo",
    "build_network",
    "describe",
    "hash_of_weights",
    "info_path",
    "load_checkpoint",
    "load_network",
    "load_published_checkpoint",
    "load_weights",
    "network_for",
    "read_info",
    "write_info",
    "write_weights",
]
