"""The spatial-awareness convolution block (SACB)."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..errors import InputError
from ..ops import adaptive_residual_conv3d, channel_descriptor, spatial_descriptor
from ..ops.neighbourhood import NUM_TAPS
from .clustering import CLUSTERING_BACKENDS, Clustering
from .conv_block import ConvBlock


class SACB(nn.Module):
    """Convolution whose kernel adapts to the kind of tissue around each voxel.

    The voxels of an image are clustered by a descriptor of their 3x3x3 patch. From the centroid of each cluster, two
    small MLPs predict a weight for each of the 27 taps of one shared kernel, and a bias. No gradient flows through the
    clustering.

    With x' = conv(x), cluster S(v) of voxel v, centroid c_n of cluster n and shared kernel W:

        y(v) = leaky_relu(sum over taps k of sigmoid(tap_mlp(c_S(v)))[k] * W[k] x'(v + k) + bias_mlp(c_S(v))) + x(v)

    The block maps (B, C, D, H, W) to the same shape and fits into any network. Source: Cheng et al., CVPR 2025.

    Args:
        channels: number of channels C.
        num_clusters: number of clusters N.
        descriptor: "spatial" (mean of the patch per channel, C values), "channel" (mean over the channels per tap,
            27 values) or "mix" (both).
        clustering_backend: "lloyd" or "torch-kmeans".
        max_iterations: maximum number of k-means iterations.
        seed: seed of the initial k-means centroids.

    Attributes:
        clustering: callable from descriptors (B, V, F) fp32 to labels (B, V) int64 and centroids (B, N, F). It can be
            replaced.

    Raises:
        InputError: if `descriptor` or `clustering_backend` is unknown, or a number is too small.

    Example:
        >>> import torch
        >>> SACB(8, num_clusters=3, descriptor="mix")(torch.rand(2, 8, 4, 5, 6)).shape
        torch.Size([2, 8, 4, 5, 6])
    """

    def __init__(
        self,
        channels: int,
        num_clusters: int = 7,
        descriptor: str = "spatial",
        clustering_backend: str = "lloyd",
        max_iterations: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        descriptor_sizes = {"spatial": channels, "channel": NUM_TAPS, "mix": channels + NUM_TAPS}
        if descriptor not in list(descriptor_sizes):  # a list in JSON cannot be looked up in a dict
            raise InputError(f"descriptor is {descriptor!r}; it must be one of {list(descriptor_sizes)}.")
        if clustering_backend not in list(CLUSTERING_BACKENDS):
            raise InputError(
                f"clustering_backend is {clustering_backend!r}; it must be one of {list(CLUSTERING_BACKENDS)}."
            )
        if num_clusters < 2 or max_iterations < 1:
            raise InputError(
                f"num_clusters is {num_clusters} and max_iterations {max_iterations}; they must be at least 2 and 1."
            )
        size = descriptor_sizes[descriptor]
        self.descriptor = descriptor
        self.clustering: Clustering = CLUSTERING_BACKENDS[clustering_backend](num_clusters, max_iterations, seed)
        self.input_conv = ConvBlock(channels, channels)
        self.weight = nn.Parameter(torch.empty(channels, channels, NUM_TAPS))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.tap_mlp = _mlp(size, 128, NUM_TAPS)
        self.bias_mlp = _mlp(size, 64, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block.

        Args:
            x: features (B, C, D, H, W).

        Returns:
            Features (B, C, D, H, W).
        """
        features = self.input_conv(x)
        with torch.no_grad():
            labels, centroids = self.clustering(self.describe(features))
        with torch.autocast(x.device.type, enabled=False):
            tap_weights, bias = self.tap_mlp(centroids).sigmoid(), self.bias_mlp(centroids)
        return adaptive_residual_conv3d(features, self.weight, tap_weights, bias, labels, residual=x)

    def describe(self, features: torch.Tensor) -> torch.Tensor:
        """Return the descriptor of every voxel.

        Args:
            features: features (B, C, D, H, W).

        Returns:
            Descriptors (B, D*H*W, F) in fp32, where F depends on the kind of descriptor.
        """
        if self.descriptor == "spatial":
            return spatial_descriptor(features)
        if self.descriptor == "channel":
            return channel_descriptor(features)
        return torch.cat([spatial_descriptor(features), channel_descriptor(features)], dim=2)


def _mlp(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    """Return an MLP with two hidden ReLU layers and a linear output layer."""
    return nn.Sequential(
        nn.Linear(in_features, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, out_features),
    )
