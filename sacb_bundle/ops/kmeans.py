"""Lloyd's k-means with a fixed number of iterations, without waiting for the device."""

from __future__ import annotations

import random

import torch

from .fused import runs_fused
from .tracing import is_traced, numbers


def initial_centroids(points: torch.Tensor, num_clusters: int, seed: int) -> torch.Tensor:
    """Pick one point from each of `num_clusters` equal runs of points, at positions drawn from a seed.

    The positions are drawn in Python, so they are the same on every device and for every batch item.

    Args:
        points: points (B, V, F).
        num_clusters: number of clusters N.
        seed: seed of the positions within the runs.

    Returns:
        Centroids (B, N, F).

    Example:
        >>> import torch
        >>> initial_centroids(torch.arange(10.0).reshape(1, 10, 1), num_clusters=2, seed=0).flatten().tolist()
        [4.0, 8.0]
    """
    generator = random.Random(seed)
    num_points = points.shape[1]
    fractions = [n + generator.random() for n in range(num_clusters)]
    if is_traced():
        # A tensor, so that the trace does not fix the number of points.
        return points[:, (torch.tensor(fractions, dtype=torch.float64) * num_points / num_clusters).long()]
    places = [int(fraction * num_points / num_clusters) for fraction in fractions]
    return torch.stack([points[:, place] for place in places], dim=1)


def kmeans(points: torch.Tensor, centroids: torch.Tensor, max_iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Run Lloyd's algorithm for a fixed number of iterations, in fp32 and without gradients.

    An iteration assigns each point to its nearest centroid (the lowest index wins a tie) and moves each centroid to
    the mean of its points (a centroid without points stays). The number of iterations is fixed because a test for
    convergence would make the host wait for the device in every iteration.

    Args:
        points: points (B, V, F).
        centroids: initial centroids (B, N, F).
        max_iterations: number of iterations, at least 1.

    Returns:
        Labels (B, V) int64 of the last iteration, and the means of their points, (B, N, F) fp32.

    Example:
        >>> import torch
        >>> labels, centroids = kmeans(torch.tensor([[[0.0], [1.0], [8.0]]]), torch.tensor([[[0.0], [5.0]]]), 2)
        >>> labels.tolist(), centroids.tolist()
        ([[0, 0, 1]], [[[0.5], [8.0]]])
    """
    with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
        points, centroids = points.float(), centroids.float()
        if runs_fused(points):
            from .triton import kmeans as fused

            with torch.cuda.device_of(points):
                return fused.kmeans(points, centroids, max_iterations)
        labels = points.new_zeros(points.shape[:2], dtype=torch.int64)
        for _ in range(max_iterations):
            labels = nearest(points, centroids)
            centroids = _cluster_means(points, labels, centroids)
    return labels, centroids


def nearest(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Return the index of the nearest centroid of each point.

    Args:
        points: points (B, V, F).
        centroids: centroids (B, N, F).

    Returns:
        Indices (B, V) int64; the lowest index if several centroids are equally near.
    """
    # The distance omits the squared norm of the point, which is the same for every centroid.
    norms = centroids.square().sum(dim=2).unsqueeze(1)
    return torch.baddbmm(norms, points, centroids.transpose(1, 2), alpha=-2).argmin(dim=2)


def _cluster_means(points: torch.Tensor, labels: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Return the mean of the points of each cluster, or the given centroid if a cluster has none.

    The sums are a matrix product with the membership. The order of scattered additions, and so their rounding, would
    change from run to run on a GPU.

    Args:
        points: points (B, V, F).
        labels: cluster of each point, (B, V) int64.
        centroids: centroids (B, N, F).

    Returns:
        Centroids (B, N, F).
    """
    clusters = numbers(centroids[0, :, 0]).to(labels.dtype)
    membership = (labels.unsqueeze(1) == clusters[:, None]).to(points.dtype)
    counts = membership.sum(dim=2, keepdim=True)
    return torch.where(counts > 0, torch.bmm(membership, points) / counts.clamp(min=1), centroids)
