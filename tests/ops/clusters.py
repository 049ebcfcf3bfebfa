from __future__ import annotations

import torch

from sacb_bundle.ops import fused_kernels, kmeans


def least_margin(points: torch.Tensor, centroids: torch.Tensor, max_iterations: int) -> float:
    """How much nearer than the next centroid, in squared distance, the nearest one is to every point.

    It is the smallest such margin in all iterations of k-means. Where it is far above rounding, every way to compute
    the distances gives the same clusters.
    """
    margins = []
    for _ in range(max_iterations):
        distances = torch.cdist(points.double(), centroids.double()).square()
        nearest, next_nearest = distances.topk(2, dim=2, largest=False).values.unbind(dim=2)
        margins.append(float((next_nearest - nearest).min()))
        with fused_kernels(False):
            _, centroids = kmeans(points, centroids, max_iterations=1)
    return min(margins)
