import numpy as np
import numpy.typing as npt
import pytest

from curation.dedup.dedup_clusters import (
    DedupClusters,
    assign_points,
    default_dedup_clusters,
    fit_clusters,
    num_cells,
    num_fitted,
    sample_rows,
    unit,
)


def runs(num_points: int, dim: int = 16) -> npt.NDArray[np.float32]:
    """Points of a few hundred groups, each twice with next to nothing between the two."""
    rng = np.random.default_rng(0)
    centres = unit(rng.standard_normal((300, dim)))
    once = centres[rng.integers(300, size=num_points // 2)] + 0.3 * rng.standard_normal((num_points // 2, dim))
    return unit(np.repeat(once, 2, axis=0) + 0.01 * rng.standard_normal((num_points, dim)))


def test_the_default_grows_with_the_frames() -> None:
    assert [default_dedup_clusters(n) for n in (1, 5000, 1_000_000)] == [1, 2, 400]


def test_very_many_clusters_are_fitted_in_cells() -> None:
    assert [num_cells(k) for k in (1, 3999, 4000, 48_000)] == [1, 1, 63, 219]


def test_the_sample_has_256_points_a_cluster_within_a_gibibyte_and_no_fewer_than_clusters() -> None:
    assert [num_fitted(n, 384, k) for n, k in ((100, 10), (10**6, 10), (10**8, 40_000), (10**8, 10**6))] == [100, 2560, 699_050, 10**6]
    rows = sample_rows(1000, 4, 2, rng=np.random.default_rng(0))
    assert len(rows) == 512
    assert (np.diff(rows) > 0).all()


def test_a_point_is_nearly_always_at_its_nearest_centroid_and_with_its_twin() -> None:
    points = runs(8000)
    clusters = fit_clusters(points, 4000, rng=np.random.default_rng(0))
    assert clusters.fine.shape == (4000, 16)
    assert len(clusters.coarse) == 63
    np.testing.assert_allclose(np.linalg.norm(clusters.fine, axis=1), 1, atol=1e-5)
    cluster_id, distance = assign_points(points, clusters)
    np.testing.assert_allclose(distance, np.linalg.norm(points - clusters.fine[cluster_id], axis=1), atol=1e-3)
    nearest = np.sqrt(np.maximum(2 - 2 * (points @ clusters.fine.T).max(axis=1), 0))
    assert (np.abs(distance - nearest) < 1e-3).mean() > 0.98
    pairs = cluster_id.reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).mean() > 0.9


def test_only_the_clusters_of_the_nearest_cells_are_looked_at() -> None:
    axes = np.eye(10, dtype=np.float32)
    # the cluster of cell 0 lies on the tenth axis, near the first point, of whose cells that one is the ninth
    clusters = DedupClusters(coarse=axes[:9], fine=axes[[9, *range(1, 9)]], first=np.arange(10))
    far = unit(np.array([[0, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9]]))
    assert assign_points(far, clusters)[0].tolist() == [1]
    assert assign_points(unit(far + 0.5 * axes[:1]), clusters)[0].tolist() == [0]


def test_a_vector_without_a_direction_is_refused() -> None:
    for vector in (np.zeros((1, 3)), np.full((1, 3), np.inf)):
        with pytest.raises(ValueError, match="zero or not finite"):
            unit(vector)
