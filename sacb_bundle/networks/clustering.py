"""The clusterings a SACB can use: callables from descriptors to labels and centroids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch_kmeans

from ..ops import initial_centroids, kmeans

Clustering = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class LloydKMeans:
    """Lloyd's k-means with a fixed number of iterations, from seeded initial centroids.

    Attributes:
        num_clusters: N.
        max_iterations: how many iterations are run; the result need not have converged.
        seed: of the initial centroids.
    """

    num_clusters: int
    max_iterations: int
    seed: int

    def __call__(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors (B, V, F) to labels (B, V) int64 and centroids (B, N, F) fp32."""
        start = initial_centroids(descriptors, self.num_clusters, self.seed)
        return kmeans(descriptors, start, self.max_iterations)


@dataclass(frozen=True)
class TorchKMeans:
    """k-means of the package torch-kmeans, from the same initial centroids, until it converges or reaches the bound.

    It tests for convergence on the host in every iteration, and it needs more voxels than clusters. Stopped by the
    bound, its labels are one assignment ahead of its centroids.

    Attributes:
        num_clusters: N, at least 2.
        max_iterations: upper bound of the iterations.
        seed: of the initial centroids.
    """

    num_clusters: int
    max_iterations: int
    seed: int

    def __call__(self, descriptors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Descriptors (B, V, F) to labels (B, V) int64 and centroids (B, N, F) fp32."""
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
