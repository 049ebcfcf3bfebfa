from __future__ import annotations

import pytest
import torch

from sacb_bundle.networks import LloydKMeans, TorchKMeans
from sacb_bundle.ops import initial_centroids, kmeans
from sacb_bundle.ops.kmeans import nearest
from tests.ops.clusters import least_margin


def blobs(batch: int = 2, voxels: int = 300, features: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(batch, 4, features, generator=generator)
    member = torch.randint(4, (batch, voxels), generator=generator)
    noise = torch.randn(batch, voxels, features, generator=generator)
    return centres.gather(1, member[..., None].expand(-1, -1, features)) + noise


def test_centroids_are_the_means_of_their_points() -> None:
    points = blobs()
    labels, centroids = kmeans(points, initial_centroids(points, 4, seed=0), max_iterations=3)
    for item in range(2):
        for cluster in labels[item].unique():
            torch.testing.assert_close(centroids[item, cluster], points[item, labels[item] == cluster].mean(dim=0))


def test_lowest_index_wins_a_tie() -> None:
    points = torch.tensor([[[0.0], [2.0], [1.0]]])
    centroids = torch.tensor([[[5.0], [0.0], [2.0], [0.0]]])
    assert nearest(points, centroids).tolist() == [[1, 2, 1]]


def test_empty_cluster_keeps_its_centroid() -> None:
    points = torch.tensor([[[0.0], [1.0]]])
    _, centroids = kmeans(points, torch.tensor([[[0.5], [100.0]]]), max_iterations=4)
    assert centroids.tolist() == [[[0.5], [100.0]]]


def test_items_of_a_batch_are_independent() -> None:
    points = blobs()
    assert least_margin(points, initial_centroids(points, 4, seed=0), max_iterations=5) > 1e-3
    together = LloydKMeans(4, 5, 0)(points)
    for item in range(2):
        alone = LloydKMeans(4, 5, 0)(points[item : item + 1])
        assert torch.equal(together[0][item], alone[0][0])
        torch.testing.assert_close(together[1][item], alone[1][0])


@pytest.mark.parametrize("num_clusters", [2, 7, 11])
def test_initial_centroids_are_distinct_points_chosen_by_the_seed(num_clusters: int) -> None:
    points = torch.arange(50.0).reshape(1, 50, 1)
    start = initial_centroids(points, num_clusters, seed=3)
    assert start.unique().numel() == num_clusters
    assert torch.equal(start, initial_centroids(points, num_clusters, seed=3))
    assert not torch.equal(start, initial_centroids(points, num_clusters, seed=4))


def test_more_clusters_than_points_leaves_some_empty() -> None:
    labels, centroids = LloydKMeans(11, 5, 0)(torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(0)))
    assert labels.unique().numel() <= 8
    assert centroids.isfinite().all()


@pytest.mark.parametrize("num_clusters", [2, 4, 7])
def test_torch_kmeans_gives_the_same_labels_from_the_same_start(num_clusters: int) -> None:
    points = blobs()
    assert least_margin(points, initial_centroids(points, num_clusters, seed=0), max_iterations=100) > 1e-3
    ours, _ = LloydKMeans(num_clusters, max_iterations=100, seed=0)(points)
    theirs, _ = TorchKMeans(num_clusters, max_iterations=100, seed=0)(points)
    assert torch.equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_clusters_as_the_operation_does() -> None:
    traced = torch.jit.trace(lambda points: LloydKMeans(4, 5, 0)(points), blobs(batch=1, voxels=40))
    points = blobs()
    assert least_margin(points, initial_centroids(points, 4, seed=0), max_iterations=5) > 1e-3
    for actual, expected in zip(traced(points), LloydKMeans(4, 5, 0)(points), strict=True):
        torch.testing.assert_close(actual, expected)


def test_a_bounded_run_is_a_prefix_of_a_longer_one() -> None:
    points = blobs()
    _, after_two = kmeans(points, initial_centroids(points, 4, 0), max_iterations=2)
    expected = kmeans(points, initial_centroids(points, 4, 0), max_iterations=5)
    actual = kmeans(points, after_two, max_iterations=3)
    assert torch.equal(actual[0], expected[0])
    assert torch.equal(actual[1], expected[1])
