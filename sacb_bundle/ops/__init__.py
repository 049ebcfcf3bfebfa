"""Pure functions on tensors: the mathematics of SACB-Net, without modules or state."""

from .adaptive_conv import adaptive_conv3d
from .convolution import conv3x3x3
from .descriptors import channel_descriptor, spatial_descriptor
from .instance_norm import instance_norm_leaky_relu
from .kmeans import initial_centroids, kmeans
from .lncc import local_ncc
from .matching import match_similarity
from .pooling import halve
from .warp import compose, upsample_field, warp

__all__ = [
    "adaptive_conv3d",
    "channel_descriptor",
    "compose",
    "conv3x3x3",
    "halve",
    "initial_centroids",
    "instance_norm_leaky_relu",
    "kmeans",
    "local_ncc",
    "match_similarity",
    "spatial_descriptor",
    "upsample_field",
    "warp",
]
