import itertools
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings, strategies as st

from curation.clustering import FitSettings, Level, assign, default_num_clusters, default_resample_sizes, fit_kmeans
from curation.clustering.in_memory import InMemory
from curation.clustering.lloyd import reseed_empty
from curation.clustering.nearest import assign_and_sum, reassign_and_sum
from curation.clustering.resampling import closest_members
from curation.clustering.seeding import greedy_kmeans_plus_plus
from curation.clustering.splitting import choose_num_splits, shares_by_size, shares_of_cells
from tests.helpers.trees import fit_tree, frame_paths
from tests.helpers.vectors import blobs

Floats = npt.NDArray[np.float32]


def unbalanced_plane(seed: int, share: float = 1.0) -> Floats:
    """Dense, thin and empty-looking regions of [-3, 3] x [-3, 3]: three Gaussian blobs of standard deviation 0.5 and a uniform floor."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal((-1, -1), 0.5, (int(7000 * share), 2)),
        rng.normal((1, -1), 0.5, (int(1000 * share), 2)),
        rng.normal((0, 1), 0.5, (int(500 * share), 2)),
        rng.uniform(-3, 3, (int(500 * share), 2)),
    ]
    return np.concatenate(parts).astype(np.float32)


def divergence_from_uniform(points: Floats, step: float = 0.05) -> float:
    """KL divergence from uniform on [-3, 3] x [-3, 3] of the points' kernel density (Gaussian, bandwidth 0.5) within it."""
    grid = np.arange(-3, 3, step) + step / 2
    along_x, along_y = (np.exp(-0.5 * ((grid[:, None] - points[None, :, axis]) / 0.5) ** 2) for axis in (0, 1))
    density = along_x @ along_y.T
    density /= density.sum() * step**2
    return float((density * np.log(density * 36)).sum() * step**2)


def test_levels_and_resampling_flatten_the_centroids() -> None:
    points = unbalanced_plane(0, share=1 / 3)
    settings_of_rows = [((100,), 0), ((500, 100), 0), ((1000, 333, 100), 0), ((1000, 333, 100), 5)]
    divergences = []
    for num_clusters, num_resamples in settings_of_rows:
        runs = [
            fit_tree(points, num_clusters=num_clusters, num_resamples=num_resamples, resample_sizes=(2,) * len(num_clusters), seed=seed)
            for seed in range(2)
        ]
        divergences.append(np.mean([divergence_from_uniform(levels[-1].centroids) for levels in runs]))
    one, two, three, resampled = divergences
    assert divergence_from_uniform(points) > 0.9
    assert one < 0.40
    assert two < 0.17
    assert three < 0.12
    assert resampled < 0.07
    assert one > two > three > resampled


def test_levels_cluster_the_centroids_below() -> None:
    levels = fit_tree(blobs(400), num_clusters=(40, 8, 2), seed=0)
    assert [level.centroids.shape for level in levels] == [(40, 8), (8, 8), (2, 8)]
    assert [level.assignment.shape for level in levels] == [(400,), (40,), (8,)]
    for points, level in zip([blobs(400), levels[0].centroids, levels[1].centroids], levels, strict=True):
        distances = np.linalg.norm(points[:, None] - level.centroids[None], axis=2)
        assert np.array_equal(level.assignment, distances.argmin(axis=1))
        np.testing.assert_allclose(level.distance, distances.min(axis=1), rtol=1e-3, atol=5e-3)
        assert [str(array.dtype) for array in (level.assignment, level.distance, level.centroids)] == ["int32", "float32", "float32"]


def test_a_level_of_few_points_is_not_resampled() -> None:
    # Of 40 centroids in 8 clusters resampling would keep some 12; each centroid of level 2 is the mean of all its members instead.
    levels = fit_tree(blobs(415, dim=64, num_blobs=30), num_clusters=(40, 8), seed=0)
    for cluster in range(8):
        members = levels[0].centroids[levels[1].assignment == cluster]
        np.testing.assert_allclose(levels[1].centroids[cluster], members.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_no_default_cluster_of_few_points_holds_most_of_them(seed: int) -> None:
    # Groups of 60, 30, 20, ... points and 100 points far from all others: levels of a few dozen clusters would be spent on those.
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(40), [max(1, 60 // rank) for rank in range(1, 41)])
    grouped = rng.standard_normal((40, 64))[group] + 0.4 * rng.standard_normal((len(group), 64))
    points = np.concatenate([grouped, 3 * rng.standard_normal((100, 64))]).astype(np.float32)
    levels = fit_tree(points, num_clusters=default_num_clusters(len(points)), seed=seed)
    assert np.bincount(frame_paths(levels)[:, -1]).max() < len(points) / 4


def test_paths_follow_each_point_up_the_tree() -> None:
    levels = fit_tree(blobs(200), num_clusters=(20, 5), num_resamples=0, seed=0)
    paths = frame_paths(levels)
    assert paths.shape == (200, 2)
    assert np.array_equal(paths[:, 0], levels[0].assignment)
    for leaf, top in paths:
        assert levels[1].assignment[leaf] == top


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_cluster_has_a_member_as_long_as_there_are_distinct_points(data: st.DataObject) -> None:
    num_distinct = data.draw(st.integers(1, 20))
    copies = data.draw(st.lists(st.integers(1, 4), min_size=num_distinct, max_size=num_distinct))
    points = np.repeat(np.arange(num_distinct, dtype=np.float32)[:, None] ** 2 * [1, -1], copies, axis=0).astype(np.float32)
    k = data.draw(st.integers(1, num_distinct))
    level = fit_kmeans(points, FitSettings(k=k), rng=np.random.default_rng(data.draw(st.integers(0, 5))))
    assert np.bincount(level.assignment, minlength=k).min() >= 1
    assert np.isfinite(level.centroids).all()


def clustered(data: st.DataObject) -> tuple[Floats, int, int]:
    """Points on a small grid, so that many are equal, with a k and a seed."""
    num_points, dim = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    points = rng.integers(0, data.draw(st.integers(2, 30)), (num_points, dim)).astype(np.float32)
    return points, data.draw(st.integers(1, len(np.unique(points, axis=0)))), data.draw(st.integers(0, 1000))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_each_point_is_at_its_nearest_centroid(data: st.DataObject) -> None:
    points, k, seed = clustered(data)
    level = fit_kmeans(points, FitSettings(k=k), rng=np.random.default_rng(seed))
    distances = np.linalg.norm(points[:, None].astype(np.float64) - level.centroids[None], axis=2)
    np.testing.assert_allclose(np.take_along_axis(distances, level.assignment[:, None], 1)[:, 0], distances.min(axis=1), atol=0.02)
    np.testing.assert_allclose(level.distance, distances.min(axis=1), atol=0.02)
    assert np.bincount(level.assignment, minlength=k).min() >= 1


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_more_iterations_never_raise_the_inertia(data: st.DataObject) -> None:
    points, k, seed = clustered(data)
    fits = [FitSettings(k=k, max_iterations=n, tolerance=0) for n in range(6)]
    inertias = [float(np.sum(fit_kmeans(points, fit, rng=np.random.default_rng(seed)).distance ** 2)) for fit in fits]
    assert all(after <= before + 1e-3 * (1 + before) for before, after in itertools.pairwise(inertias))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_comparing_with_moved_centroids_alone_gives_what_comparing_with_all_gives(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    num_points, k = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 12))
    points, centroids = rng.normal(size=(num_points, 3)).astype(np.float32), rng.normal(size=(k, 3)).astype(np.float32)
    nearest, distance, sums = assign_and_sum(points, centroids)
    before = nearest.copy()
    moved = rng.random(k) < data.draw(st.floats(0, 1))
    centroids[moved] += rng.normal(size=(int(moved.sum()), 3)).astype(np.float32)
    changed = reassign_and_sum(points, centroids, moved, nearest, distance, sums)
    expected, expected_distance, expected_sums = assign_and_sum(points, centroids)
    assert np.array_equal(nearest, expected)
    np.testing.assert_allclose(distance, expected_distance, atol=2e-3)
    np.testing.assert_allclose(sums, expected_sums, atol=1e-9)
    differing = before != expected
    assert set(np.flatnonzero(changed)) == set(before[differing]) | set(expected[differing])


def test_two_pairs_of_points_become_two_clusters() -> None:
    level = fit_kmeans(np.array([[0, 0], [0, 2], [10, 0], [10, 2]], np.float32), FitSettings(k=2), rng=np.random.default_rng(0))
    assert sorted(level.centroids.tolist()) == [[0, 1], [10, 1]]
    assert level.distance.tolist() == [1, 1, 1, 1]


def test_one_cluster_is_the_mean_and_n_clusters_are_the_points() -> None:
    points = np.array([[0, 0], [4, 0], [0, 8], [4, 8]], np.float32)
    assert fit_kmeans(points, FitSettings(k=1), rng=np.random.default_rng(0)).centroids.tolist() == [[2, 4]]
    every = fit_kmeans(points, FitSettings(k=4), rng=np.random.default_rng(0))
    assert sorted(every.centroids.tolist()) == sorted(points.tolist())
    assert every.distance.tolist() == [0, 0, 0, 0]


def test_an_empty_cluster_moves_to_the_farthest_point() -> None:
    points = np.array([[0], [1], [9]], np.float32)
    centroids = np.array([[0], [100]], np.float32)
    nearest, distance = assign(points, centroids)
    assert reseed_empty(centroids, np.bincount(nearest, minlength=2), InMemory(points), distance) == 1
    assert centroids.tolist() == [[0], [9]]


def test_resampling_keeps_the_closest_members() -> None:
    level = Level(np.zeros((2, 1), np.float32), np.array([0, 0, 1, 0], np.int32), np.array([3, 1, 5, 2], np.float32))
    assert closest_members(level, 2).tolist() == [1, 2, 3]


def test_cells_share_clusters_equally_as_far_as_their_points_go() -> None:
    assert shares_of_cells(np.array([100, 100, 2, 100]), 11).tolist() == [3, 3, 2, 3]
    assert shares_of_cells(np.array([5, 5, 5]), 4).tolist() == [2, 1, 1]
    assert shares_of_cells(np.array([3, 1]), 4).tolist() == [3, 1]
    with pytest.raises(ValueError, match="4 points cannot make 5 clusters"):
        shares_of_cells(np.array([3, 1]), 5)


def test_shares_by_size_are_in_proportion_and_every_cell_with_a_point_has_one() -> None:
    assert shares_by_size(np.array([600, 300, 100]), 100).tolist() == [59, 30, 11]
    assert shares_by_size(np.array([600, 300, 100]), 10).tolist() == [5, 3, 2]
    assert shares_by_size(np.array([1000, 0, 1, 1]), 5).tolist() == [3, 0, 1, 1]
    assert shares_by_size(np.array([3, 1]), 4).tolist() == [3, 1]
    with pytest.raises(ValueError, match="do not fit 2 cells of 4 points"):
        shares_by_size(np.array([3, 1]), 5)
    with pytest.raises(ValueError, match="do not fit 2 cells of 4 points"):
        shares_by_size(np.array([3, 1]), 1)


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any), data=st.data())
def test_shares_by_size_come_to_k_and_none_is_above_its_cells_points(sizes: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(sum(size > 0 for size in sizes), sum(sizes)))
    shares = shares_by_size(np.array(sizes), k)
    assert shares.sum() == k
    assert all(min(1, size) <= share <= size for share, size in zip(shares.tolist(), sizes, strict=True))


def test_a_split_first_level_is_whole_and_nearest_within_its_cells() -> None:
    points = blobs(600, dim=4)
    levels = fit_tree(points, num_clusters=(60, 6), num_resamples=2, num_splits=5, seed=0)
    assert np.bincount(levels[0].assignment, minlength=60).min() >= 1
    own = np.linalg.norm(points - levels[0].centroids[levels[0].assignment], axis=1)
    np.testing.assert_allclose(levels[0].distance, own, atol=0.02)
    whole = fit_tree(points, num_clusters=(60, 6), num_resamples=0, num_splits=1, seed=0)
    split = fit_tree(points, num_clusters=(60, 6), num_resamples=0, num_splits=5, seed=0)
    assert np.sum(split[0].distance ** 2) < 1.5 * np.sum(whole[0].distance ** 2)
    with pytest.raises(ValueError, match="num_splits 61 does not fit 60 clusters"):
        fit_tree(points, num_clusters=(60, 6), num_splits=61, seed=0)


def test_cells_are_as_many_as_cost_least_and_as_keep_one_small() -> None:
    assert choose_num_splits(9_999, None, num_values=10**12) == 1
    assert choose_num_splits(100_000, None, num_values=384 * 10**6) == 316
    assert choose_num_splits(100_000, None, num_values=384 * 120 * 10**6) == 1374  # a mean cell is then 128 MiB of float32
    assert choose_num_splits(10_000, None, num_values=10**12) == 10_000
    assert choose_num_splits(100_000, 7, num_values=10**12) == 7


def test_rare_points_get_a_seed_though_few_points_judge() -> None:
    # 16 judges a seed are 48 of 10,003 points: on a sample the three far points would nearly always be missed.
    points = np.concatenate([blobs(10_000, num_blobs=1), np.full((3, 8), 1000, np.float32)])
    for seed in range(5):
        assert 1000 in greedy_kmeans_plus_plus(points, 3, rng=np.random.default_rng(seed))[:, 0]


def test_fewer_distinct_points_than_clusters_is_no_error() -> None:
    level = fit_kmeans(np.ones((10, 3), np.float32), FitSettings(k=4), rng=np.random.default_rng(0))
    assert level.centroids.shape == (4, 3)
    assert level.distance.max() == 0


def test_each_far_blob_gets_a_seed() -> None:
    points = blobs(2000, num_blobs=10, seed=1)
    seeds = greedy_kmeans_plus_plus(points, 10, rng=np.random.default_rng(0))
    _, distance = assign(points, seeds)
    assert distance.max() < 15  # within a blob points are some 4 apart, blobs some 40


def test_seeds_are_drawn_by_squared_distance() -> None:
    # With one candidate a step this is plain k-means++: of the points at 0, 1 and 3 the second seed, after 0, is 3 nine times in ten.
    points = np.array([[0.0], [1.0], [3.0]], np.float32)
    second = []
    for seed in range(4000):
        seeds = greedy_kmeans_plus_plus(points, 2, rng=np.random.default_rng(seed), num_candidates=1)
        if seeds[0, 0] == 0:
            second.append(seeds[1, 0])
    assert len(second) > 1000
    assert np.mean(np.array(second) == 3) == pytest.approx(0.9, abs=0.03)


def test_the_third_seed_follows_the_shrunken_distances() -> None:
    # After 0 and 10 the squared distances of 1, 4 and 9 are 1, 16 and 1: the rejection of candidates drawn earlier must give 16 in 18 to 4.
    points = np.array([[0.0], [1.0], [4.0], [9.0], [10.0]], np.float32)
    third = []
    for seed in range(8000):
        seeds = greedy_kmeans_plus_plus(points, 3, rng=np.random.default_rng(seed), num_candidates=1)[:, 0]
        if set(seeds[:2]) == {0.0, 10.0}:
            third.append(seeds[2])
    assert len(third) > 800
    assert np.mean(np.array(third) == 4) == pytest.approx(16 / 18, abs=0.03)


def test_greedy_seeds_beat_plain_ones() -> None:
    points = unbalanced_plane(0, share=0.2)
    potentials = []
    for candidates in (1, None):
        seeds = [greedy_kmeans_plus_plus(points, 60, rng=np.random.default_rng(seed), num_candidates=candidates) for seed in range(5)]
        potentials.append(np.mean([np.sum(assign(points, chosen)[1] ** 2) for chosen in seeds]))
    assert potentials[1] < 0.9 * potentials[0]


def test_inertia_is_within_half_a_percent_of_faiss_with_all_its_iterations() -> None:
    points = blobs(6000, dim=32, num_blobs=300)
    ours = fit_kmeans(points, FitSettings(k=100), rng=np.random.default_rng(0))
    reference = faiss.Kmeans(32, 100, niter=50, seed=1, max_points_per_centroid=10**9)
    reference.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
    reference.train(points)
    assert reference.centroids is not None
    theirs = assign(points, reference.centroids)[1]
    assert np.sum(ours.distance**2) < 1.005 * np.sum(theirs**2)


def test_one_seed_gives_one_result() -> None:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        points = blobs(1000)
        runs = [fit_tree(points, num_clusters=(50, 10), seed=seed) for seed in (3, 3, 4)]
    finally:
        faiss.omp_set_num_threads(threads)
    for first, second in zip(runs[0], runs[1], strict=True):
        assert np.array_equal(first.centroids, second.centroids)
        assert np.array_equal(first.assignment, second.assignment)
    assert not np.array_equal(runs[0][0].centroids, runs[2][0].centroids)


def test_a_float16_memmap_gives_what_its_float32_array_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.clustering.nearest._BLOCK_VALUES", 8 * 100)  # ten blocks
    half = blobs(1000).astype(np.float16)
    half.tofile(tmp_path / "points.f16")
    mapped = np.memmap(tmp_path / "points.f16", dtype=np.float16, mode="r", shape=half.shape)
    on_disk = fit_tree(mapped, num_clusters=(20, 4), seed=0)
    in_memory = fit_tree(half.astype(np.float32), num_clusters=(20, 4), seed=0)
    assert np.array_equal(on_disk[0].assignment, in_memory[0].assignment)
    np.testing.assert_allclose(on_disk[1].centroids, in_memory[1].centroids, rtol=1e-4, atol=1e-4)


def test_spherical_centroids_have_unit_length_and_follow_cosine() -> None:
    points = blobs(500)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    level = fit_kmeans(points, FitSettings(k=10, spherical=True), rng=np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(level.centroids, axis=1), 1, rtol=1e-5)
    assert np.array_equal(level.assignment, (points @ level.centroids.T).argmax(axis=1))


def test_defaults_follow_the_number_of_points() -> None:
    assert default_num_clusters(100_000) == (16_667, 8333, 4166, 2083)
    assert default_num_clusters(4800) == (800, 400, 200, 100)
    assert default_num_clusters(2304) == (384, 192, 96, 48)
    assert default_num_clusters(1200) == (200, 100, 50)
    assert default_num_clusters(415) == (69,)
    assert default_num_clusters(100) == (17,)
    assert default_num_clusters(10) == (2,)
    assert default_num_clusters(1) == (1,)
    assert default_num_clusters(120_000_000) == (100_000, 46_416, 21_544, 10_000)
    assert default_resample_sizes(100_000, (5000, 500, 50)) == (10, 5, 5)


@pytest.mark.parametrize("num_points", [1, 2, 19, 300, 1000, 3000])
def test_default_levels_fit_any_number_of_points(num_points: int) -> None:
    levels = fit_tree(blobs(num_points), num_clusters=default_num_clusters(num_points), seed=0)
    assert frame_paths(levels).shape == (num_points, len(levels))


@pytest.mark.parametrize(
    ("num_clusters", "resample_sizes", "message"),
    [
        ((200,), (1,), r"num_clusters \(200,\) does not fit 100 points"),
        ((10, 10), (1, 1), "give falling numbers"),
        ((), (), "give falling numbers"),
        ((10, 2), (1, 2, 3), "resample_sizes has 3 numbers for 2 levels"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(num_clusters: tuple[int, ...], resample_sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_tree(blobs(100), num_clusters=num_clusters, resample_sizes=resample_sizes, seed=0)


def test_points_that_are_not_numbers_are_refused() -> None:
    points = blobs(100)
    points[3, 2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_tree(points, num_clusters=(5,), seed=0)
    with pytest.raises(ValueError, match=r"shape \(0, 8\)"):
        fit_tree(np.empty((0, 8), np.float32), num_clusters=(5,), seed=0)
