"""SACB-Net, and its blocks as modules of their own."""

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
