"""Let one network use the clusters of another, since rounding decides on voxels at the border of two clusters."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch

from sacb_bundle.networks import SACBNet

Clusters = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Replay:
    """A clustering that returns recorded labels and centroids."""

    labels: torch.Tensor
    centroids: torch.Tensor

    def __call__(self, descriptors: torch.Tensor) -> Clusters:
        assert descriptors.shape == (*self.labels.shape, self.centroids.shape[2])
        return self.labels, self.centroids


def field_and_clusters(network: SACBNet, image: torch.Tensor) -> tuple[torch.Tensor, dict[str, Clusters]]:
    """Return the field of a network, and the labels and centroids of each level."""
    network, clusters = deepcopy(network), {}
    for level, block in network.sacb.items():

        def cluster(descriptors, level=level, clustering=block.clustering):
            clusters[level] = clustering(descriptors)
            return clusters[level]

        block.clustering = cluster
    return network(image), clusters


def replaying(network: SACBNet, clusters: dict[str, Clusters]) -> SACBNet:
    """Return a copy of the network that uses given labels and centroids at each level."""
    network = deepcopy(network)
    for level, (labels, centroids) in clusters.items():
        network.sacb[level].clustering = Replay(labels, centroids)
    return network
