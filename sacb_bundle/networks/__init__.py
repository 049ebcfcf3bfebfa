"""SACB-Net and its blocks as separate modules.

In every shape, D, H and W are the first, second and third axis of the array as nibabel gives it.
"""

from .checkpoint import load_checkpoint, load_published_checkpoint
from .clustering import LloydKMeans, TorchKMeans
from .matching import SimilarityMatching
from .sacb import SACB
from .sacb_net import SACBNet

__all__ = [
    "SACB",
    "LloydKMeans",
    "SACBNet",
    "SimilarityMatching",
    "TorchKMeans",
    "load_checkpoint",
    "load_published_checkpoint",
]
