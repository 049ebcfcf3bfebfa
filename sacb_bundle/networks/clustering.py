"""Clustering methods for SACB: callables from descriptors to labels and centroids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..ops import initial_centroids, kmeans

Clustering = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class LloydKMeans:
    """Lloyd's k-means with a fixed number of iterations, from seeded initial centroids.

    Attributes:
        num_clusters: number of clusters N.
        max_iterations: number of iterations; the result may not have converged.
        seed: seed of the initial centroids.

    Example:
        >>> import torch
        >>> labels, centroids = LloydKMeans(num_clusters=3, max_iterations=5, seed=0)(torch.rand(1, 100, 8))
        >>> labels.shape, centroids.shape
        (torch.Size([1, 100]), torch.Size([1, 3, 8]))
    """

    num_clusters: int
    max_iterations: int
    seed: int

    def __call__(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cluster descriptors (B, V, F) into labels (B, V) int64 and centroids (B, N, F) fp32."""
        start = initial_centroids(descriptors, self.num_clusters, self.seed)
        return kmeans(descriptors, start, self.max_iterations)


@dataclass(frozen=True)
class TorchKMeans:
    """k-means of the torch-kmeans package, from the same initial centroids, until convergence or the iteration limit.

    It tests for convergence on the host in every iteration and needs more voxels than clusters. If it stops at the
    limit, its labels are one assignment ahead of its centroids.

    Attributes:
        num_clusters: number of clusters N, at least 2.
        max_iterations: maximum number of iterations.
        seed: seed of the initial centroids.
    """

    num_clusters: int
    max_iterations: int
    seed: int

    def __call__(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cluster descriptors (B, V, F) into labels (B, V) int64 and centroids (B, N, F) fp32."""
        import torch_kmeans  # here, since few need it

        model = torch_kmeans.KMeans(
            num_init=1, max_iter=self.max_iterations, tol=1e-10, n_clusters=self.num_clusters, verbose=False
        )
        start = initial_centroids(descriptors, self.num_clusters, self.seed)
        with torch.no_grad(), torch.autocast(descriptors.device.type, enabled=False):
            result = model(descriptors.float().contiguous(), centers=start.float())
        return result.labels, result.centers


CLUSTERING_BACKENDS: dict[str, type[LloydKMeans] | type[TorchKMeans]] = {
    "lloyd": LloydKMeans,
    "torch-kmeans": TorchKMeans,
}
