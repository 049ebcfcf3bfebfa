"""Lloyd's k-means: each iteration reads the points once and writes cluster sums but no distances."""

from __future__ import annotations

import torch
import triton.language as tl

from .tiles import block_size, cdiv, compiled, next_power_of_2, num_workers


@compiled
def _assign_kernel(
    points,
    centroids,
    labels,
    sums,
    num_points,
    num_clusters,
    FEATURES: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Find the nearest centroid of each point; count and sum the points per cluster over one worker's share."""
    batch = tl.program_id(1).to(tl.int64)
    points += batch * num_points * FEATURES
    feature = tl.arange(0, BLOCK_F)
    cluster = tl.arange(0, BLOCK_N)
    centre = tl.load(
        centroids + (batch * num_clusters + cluster)[None, :] * FEATURES + feature[:, None],
        mask=(feature < FEATURES)[:, None] & (cluster < num_clusters)[None, :],
        other=0,
    )
    # The distance omits the squared norm of the point, which is the same for every centroid.
    norm = tl.where(cluster < num_clusters, tl.sum(centre * centre, axis=0), float("inf"))
    total = tl.zeros((BLOCK_N, BLOCK_F), dtype=tl.float32)
    count = tl.zeros((BLOCK_N,), dtype=tl.float32)
    for start in range(tl.program_id(0) * BLOCK, num_points, tl.num_programs(0) * BLOCK):
        point = start + tl.arange(0, BLOCK)
        values = tl.load(
            points + point[:, None] * FEATURES + feature[None, :],
            mask=(point < num_points)[:, None] & (feature < FEATURES)[None, :],
            other=0,
        )
        distance = norm[None, :] - 2 * tl.dot(values, centre, input_precision="tf32x3")
        # NaN could otherwise select a cluster that does not exist.
        label = tl.minimum(tl.argmin(distance, axis=1, tie_break_left=True), num_clusters - 1)
        tl.store(labels + batch * num_points + point, label.to(tl.int64), mask=point < num_points)
        member = ((label[:, None] == cluster[None, :]) & (point < num_points)[:, None]).to(tl.float32)
        total = tl.dot(tl.trans(member), values, total, input_precision="tf32x3")
        count += tl.sum(member, axis=0)
    row = (batch * tl.num_programs(0) + tl.program_id(0)) * num_clusters + cluster
    sums += row[:, None] * (FEATURES + 1) + feature[None, :]
    tl.store(sums, total, mask=(cluster < num_clusters)[:, None] & (feature < FEATURES)[None, :])
    tl.store(
        sums + FEATURES - feature[None, :], count[:, None], mask=(cluster < num_clusters)[:, None] & (feature == 0)
    )


@compiled
def _move_kernel(
    sums, centroids, workers, num_clusters, FEATURES: tl.constexpr, BLOCK_F: tl.constexpr, BLOCK_W: tl.constexpr
):
    """Move one centroid to the mean of its points; a centroid without points stays."""
    cluster = tl.program_id(0)
    batch = tl.program_id(1)
    column = tl.arange(0, BLOCK_F)
    total = tl.zeros((BLOCK_W, BLOCK_F), dtype=tl.float32)
    for start in range(0, workers, BLOCK_W):
        worker = start + tl.arange(0, BLOCK_W)
        row = ((batch * workers + worker) * num_clusters + cluster) * (FEATURES + 1)
        total += tl.load(
            sums + row[:, None] + column[None, :],
            mask=(worker < workers)[:, None] & (column <= FEATURES)[None, :],
            other=0,
        )
    total = tl.sum(total, axis=0)
    count = tl.sum(tl.where(column == FEATURES, total, 0))
    centroids += (batch * num_clusters + cluster) * FEATURES + column
    before = tl.load(centroids, mask=column < FEATURES)
    tl.store(centroids, tl.where(count > 0, total / tl.maximum(count, 1), before), mask=column < FEATURES)


def kmeans(points: torch.Tensor, centroids: torch.Tensor, max_iterations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `sacb_bundle.ops.kmeans`.

    Args:
        points: points (B, V, F) fp32.
        centroids: initial centroids (B, N, F) fp32.
        max_iterations: number of iterations.

    Returns:
        Labels (B, V) int64 and centroids (B, N, F) fp32.
    """
    points, centroids = points.contiguous(), centroids.clone(memory_format=torch.contiguous_format)
    batch, num_points, features = points.shape
    num_clusters = centroids.shape[1]
    block = block_size(32)
    workers = min(max(1, num_workers(points.device, 16) // batch), cdiv(num_points, block))
    block_n = max(16, next_power_of_2(num_clusters))
    labels = torch.empty((batch, num_points), dtype=torch.int64, device=points.device)
    sums = points.new_empty((batch, workers, num_clusters, features + 1))
    for _ in range(max_iterations):
        _assign_kernel[(workers, batch)](
            points,
            centroids,
            labels,
            sums,
            num_points,
            num_clusters,
            features,
            max(16, next_power_of_2(features)),
            block_n,
            block,
            num_warps=1,
        )
        _move_kernel[(num_clusters, batch)](
            sums, centroids, workers, num_clusters, features, next_power_of_2(features + 1), 32
        )
    return labels, centroids
