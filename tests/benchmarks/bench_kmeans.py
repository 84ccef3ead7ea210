"""Hierarchical k-means: speed and inertia beside FAISS and scikit-learn, and flatness on the plane, all in one run.

    python tests/benchmarks/bench_kmeans.py [speed | flatness]

Speed: 60,000 x 384 unit vectors, k = [1000, 100], three resamplings of r = [10, 3]. The plain script is FAISS's own k-means++
and 50 full iterations with the same resamplings. All run on one thread and processor seconds are counted, so that other work on
the machine disturbs less. Flatness: KL divergence from uniform of the last centroids, five seeds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from curation.kmeans import assign, fit_kmeans, hierarchical_kmeans

Floats = npt.NDArray[np.float32]
Result = TypeVar("Result")
NUM_CLUSTERS, RESAMPLE_SIZES, NUM_RESAMPLES = (1000, 100), (10, 3), 3


def long_tailed_vectors(num_points: int = 60_000, dim: int = 384, num_groups: int = 2000, seed: int = 0) -> Floats:
    """Unit vectors in groups whose sizes fall as 1 / rank."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, num_groups + 1)
    group = rng.choice(num_groups, num_points, p=shares / shares.sum())
    points = rng.standard_normal((num_groups, dim))[group] + rng.standard_normal((num_points, dim))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.astype(np.float32)


def plain_faiss(points: Floats) -> tuple[Floats, Floats]:
    """What one writes in forty lines with FAISS alone; returns the first fit's and the last first-level centroids."""
    current, firsts, lasts = points, [], []
    for k, r in zip(NUM_CLUSTERS, RESAMPLE_SIZES, strict=True):

        def fit(sample: Floats, k: int = k) -> Floats:
            kmeans = faiss.Kmeans(sample.shape[1], k, niter=50, seed=1, max_points_per_centroid=10**9, min_points_per_centroid=1)
            kmeans.cp.init_method = faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS
            kmeans.train(sample)
            return np.asarray(kmeans.centroids)

        centroids = fit(current)
        firsts.append(centroids)
        for _ in range(NUM_RESAMPLES):
            nearest, distance = assign(current, centroids)
            order = np.lexsort((distance, nearest))
            starts = np.searchsorted(nearest[order], np.arange(k))
            rank = np.arange(len(order)) - starts[nearest[order]]
            centroids = fit(current[np.sort(order[rank < r])])
        lasts.append(centroids)
        assign(current, centroids)
        current = centroids
    return firsts[0], lasts[0]


def inertia(points: Floats, centroids: Floats) -> float:
    return float(np.sum(assign(points, centroids)[1].astype(np.float64) ** 2))


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def speed() -> None:
    points = long_tailed_vectors()
    rows: list[tuple[str, float, float]] = []
    for _ in range(2):  # interleaved, so that other work on the machine meets all alike
        seconds, first = timed(lambda: fit_kmeans(points, NUM_CLUSTERS[0], rng=np.random.default_rng(0)))
        rows.append(("ours, first fit", seconds, inertia(points, first.centroids)))
        seconds, levels = timed(
            lambda: hierarchical_kmeans(
                points, num_clusters=NUM_CLUSTERS, num_resamples=NUM_RESAMPLES, resample_sizes=RESAMPLE_SIZES, seed=0
            )
        )
        rows.append(("ours, all", seconds, inertia(points, levels[0].centroids)))
        seconds, (first_centroids, last_centroids) = timed(lambda: plain_faiss(points))
        rows.append(("plain FAISS, all (inertia of its first fit)", seconds, inertia(points, first_centroids)))
        rows.append(("plain FAISS, all (inertia after resampling)", seconds, inertia(points, last_centroids)))
        seconds, mini = timed(lambda: MiniBatchKMeans(NUM_CLUSTERS[0], random_state=0, n_init=1).fit(points))
        rows.append(("scikit-learn MiniBatchKMeans, level 1", seconds, inertia(points, mini.cluster_centers_.astype(np.float32))))
    print(f"{'':46}{'median s':>10}{'inertia':>12}")
    for name in dict.fromkeys(name for name, _, _ in rows):
        times = [seconds for label, seconds, _ in rows if label == name]
        values = [value for label, _, value in rows if label == name]
        print(f"{name:46}{np.median(times):10.1f}{np.median(values):12.1f}")


def unbalanced_plane(seed: int) -> Floats:
    """9,000 points: three Gaussian blobs of 7000, 1000 and 500 (standard deviation 0.5) and 500 uniform on [-3, 3] x [-3, 3]."""
    rng = np.random.default_rng(seed)
    blobs = [rng.normal(centre, 0.5, (size, 2)) for centre, size in (((-1, -1), 7000), ((1, -1), 1000), ((0, 1), 500))]
    return np.concatenate([*blobs, rng.uniform(-3, 3, (500, 2))]).astype(np.float32)


def divergence_from_uniform(points: Floats, step: float = 0.02) -> float:
    """KL divergence from uniform on the square of the points' kernel density (Gaussian, bandwidth 0.5) within it."""
    grid = np.arange(-3, 3, step) + step / 2
    along_x, along_y = (np.exp(-0.5 * ((grid[:, None] - points[None, :, axis]) / 0.5) ** 2) for axis in (0, 1))
    density = along_x @ along_y.T
    density /= density.sum() * step**2
    return float((density * np.log(density * 36)).sum() * step**2)


def flatness() -> None:
    cases = {
        "one level, 300": ((300,), 0),
        "two, 1500 300": ((1500, 300), 0),
        "three, 3000 1000 300": ((3000, 1000, 300), 0),
        "three, 10 resamplings of 2": ((3000, 1000, 300), 10),
    }
    uniform = [divergence_from_uniform(np.random.default_rng(seed).uniform(-3, 3, (300, 2)).astype(np.float32)) for seed in range(20)]
    print(f"the data {divergence_from_uniform(unbalanced_plane(0)):.3f}; 300 uniform points {np.mean(uniform):.3f}")
    for name, (num_clusters, num_resamples) in cases.items():
        values = []
        for seed in range(5):
            levels = hierarchical_kmeans(
                unbalanced_plane(seed), num_clusters=num_clusters, num_resamples=num_resamples, resample_sizes=2, seed=seed
            )
            values.append(divergence_from_uniform(levels[-1].centroids))
        print(f"{name:28} mean {np.mean(values):.3f}   five seeds {' '.join(f'{value:.3f}' for value in values)}", flush=True)


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["speed", "flatness"]
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        if "speed" in wanted:
            speed()
        if "flatness" in wanted:
            flatness()
