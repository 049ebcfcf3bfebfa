"""Bounded Lloyd k-means that never waits for the device."""

from __future__ import annotations

import random

import torch

from .fused import runs_fused
from .tracing import is_traced, numbers


def initial_centroids(points: torch.Tensor, num_clusters: int, seed: int) -> torch.Tensor:
    """Pick one point from each of `num_clusters` equal runs of points, at places drawn from `seed`.

    The places are Python numbers, so the choice is the same on every device and for every item of a batch.

    Args:
        points: (B, V, F).
        num_clusters: N.
        seed: of the places within the runs.

    Returns:
        (B, N, F).
    """
    generator = random.Random(seed)
    num_points = points.shape[1]
    fractions = [n + generator.random() for n in range(num_clusters)]
    if is_traced():
        # A tensor, so that the number of points of the trace does not become that of all other inputs.
        return points[:, (torch.tensor(fractions, dtype=torch.float64) * num_points / num_clusters).long()]
    places = [int(fraction * num_points / num_clusters) for fraction in fractions]
    return torch.stack([points[:, place] for place in places], dim=1)


def kmeans(points: torch.Tensor, centroids: torch.Tensor, max_iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lloyd's algorithm with a fixed number of iterations, in fp32 and without gradients.

    An iteration gives each point to its nearest centroid (the lowest index wins a tie) and moves each
    centroid to the mean of its points (one without points stays). The number of iterations is fixed
    because testing for convergence would make the host wait for the device in every iteration.

    Args:
        points: (B, V, F).
        centroids: initial centroids (B, N, F).
        max_iterations: number of iterations, at least 1.

    Returns:
        labels (B, V) int64 of the last iteration, and the means of their points (B, N, F) fp32.
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
            centroids = cluster_means(points, labels, centroids)
    return labels, centroids


def nearest(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Index of the nearest centroid of each point.

    Args:
        points: (B, V, F).
        centroids: (B, N, F).

    Returns:
        (B, V) int64; the lowest index where centroids are equally near.
    """
    # The squared norm of the point is the same for every centroid and left out of the distance.
    norms = centroids.square().sum(dim=2).unsqueeze(1)
    return torch.baddbmm(norms, points, centroids.transpose(1, 2), alpha=-2).argmin(dim=2)


def cluster_means(points: torch.Tensor, labels: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    """Mean of the points of each cluster; the given centroid where a cluster has none.

    Sums are a matrix product with the membership rather than scattered additions, whose order, and so
    whose rounding, would change from run to run on a GPU.

    Args:
        points: (B, V, F).
        labels: (B, V) int64.
        centroids: (B, N, F).

    Returns:
        (B, N, F).
    """
    clusters = numbers(centroids[0, :, 0]).to(labels.dtype)
    membership = (labels.unsqueeze(1) == clusters[:, None]).to(points.dtype)
    counts = membership.sum(dim=2, keepdim=True)
    return torch.where(counts > 0, torch.bmm(membership, points) / counts.clamp(min=1), centroids)
