"""Hierarchical k-means: speed and inertia beside FAISS and scikit-learn, and flatness on the plane, with limits, all in one run.

    python tests/benchmarks/bench_kmeans.py [speed] [flatness] [--images FOLDER] [--threads N] [--repeats N]

Speed: 60,000 x 384 unit vectors, k = [1000, 100], three resamplings of r = [10, 3]. The plain script is FAISS's own k-means++
and 50 full iterations with the same resamplings. Inertia is always that of the first fit of the first level, before resampling,
over all points. On one thread (the default) processor seconds are counted, so that other work on the machine disturbs less; on
more, wall time, which needs a quiet machine. Flatness: KL divergence from uniform of the last centroids, five seeds, and of FAISS's
own seedings. With --images: what early stopping costs in inertia on the default encoder's vectors of a folder of real JPEGs and
their quarters.
"""

from __future__ import annotations

import argparse
import io
import itertools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits

from curation.clustering import FitSettings, assign, fit_kmeans
from curation.embedding.config import EmbedConfig
from curation.embedding.embed import embed_images
from curation.embedding.encoder import load_encoder
from tests.helpers.trees import fit_tree

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


def verdict(name: str, value: float, limit: float) -> None:
    print(f"{name:66}{value:8.3f}  limit {limit:5.3f}  {'met' if value <= limit else 'MISSED'}", flush=True)


def speed(*, threads: int, repeats: int) -> None:
    points = long_tailed_vectors()
    clock = time.process_time if threads == 1 else time.perf_counter

    def timed(function: Callable[[], Result]) -> tuple[float, Result]:
        started = clock()
        result = function()
        return clock() - started, result

    rows: dict[str, list[tuple[float, float]]] = {}
    for _ in range(repeats):  # interleaved, so that other work on the machine meets all alike
        seconds, first = timed(lambda: fit_kmeans(points, FitSettings(k=NUM_CLUSTERS[0]), rng=np.random.default_rng(0)))
        first_inertia = inertia(points, first.centroids)
        rows.setdefault("ours, first fit", []).append((seconds, first_inertia))
        seconds, _levels = timed(
            lambda: fit_tree(points, num_clusters=NUM_CLUSTERS, num_resamples=NUM_RESAMPLES, resample_sizes=RESAMPLE_SIZES, seed=0)
        )
        rows.setdefault("ours, all", []).append((seconds, first_inertia))
        seconds, (first_centroids, _last) = timed(lambda: plain_faiss(points))
        rows.setdefault("plain FAISS, all", []).append((seconds, inertia(points, first_centroids)))
        seconds, mini = timed(lambda: MiniBatchKMeans(NUM_CLUSTERS[0], random_state=0, n_init=1).fit(points))
        rows.setdefault("MiniBatchKMeans", []).append((seconds, inertia(points, mini.cluster_centers_.astype(np.float32))))
    median = {name: np.median(values, axis=0) for name, values in rows.items()}
    print(f"{threads} threads, {'processor' if threads == 1 else 'wall'} seconds, medians of {repeats}, inertia of the first fit")
    for name, (seconds, value) in median.items():
        print(f"{name:24}{seconds:8.2f} s{value:12.1f}")
    verdict("time, ours all / plain FAISS all", median["ours, all"][0] / median["plain FAISS, all"][0], 0.8)
    verdict("inertia, ours / plain FAISS", median["ours, first fit"][1] / median["plain FAISS, all"][1], 1.005)
    verdict("time, our first fit / MiniBatchKMeans", median["ours, first fit"][0] / median["MiniBatchKMeans"][0], 2)
    verdict("inertia, ours / MiniBatchKMeans", median["ours, first fit"][1] / median["MiniBatchKMeans"][1], 1)


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


def faiss_seeded(points: Floats, method: int, seed: int) -> Floats:
    kmeans = faiss.Kmeans(2, 300, niter=50, seed=seed, max_points_per_centroid=10**9, min_points_per_centroid=1)
    kmeans.cp.init_method = method
    kmeans.train(points)
    return np.asarray(kmeans.centroids)


def flatness() -> None:
    cases: dict[str, tuple[tuple[int, ...], int, int, float]] = {
        "one level, 300": ((300,), 0, 1, 0.40),
        "two, 1500 300": ((1500, 300), 0, 1, 0.17),
        "three, 3000 1000 300": ((3000, 1000, 300), 0, 1, 0.12),
        "three, 10 resamplings of 2": ((3000, 1000, 300), 10, 1, 0.06),
        "the same, split in 55 cells": ((3000, 1000, 300), 10, 55, 0.06),
    }
    uniform = [divergence_from_uniform(np.random.default_rng(seed).uniform(-3, 3, (300, 2)).astype(np.float32)) for seed in range(20)]
    print(f"the data {divergence_from_uniform(unbalanced_plane(0)):.3f}; 300 uniform points {np.mean(uniform):.3f}")
    for name, method in (
        ("k-means++", faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS),
        ("AFK-MC2", faiss.ClusteringInitMethod_AFK_MC2),
    ):
        values = [divergence_from_uniform(faiss_seeded(unbalanced_plane(seed), method, seed)) for seed in range(5)]
        print(f"one level, 300, FAISS's {name:13} five seeds {' '.join(f'{value:.3f}' for value in values)}", flush=True)
    above = np.full(5, np.inf)
    for name, (num_clusters, num_resamples, num_splits, limit) in cases.items():
        values = []
        for seed in range(5):
            levels = fit_tree(
                unbalanced_plane(seed),
                num_clusters=num_clusters,
                num_resamples=num_resamples,
                resample_sizes=(2,) * len(num_clusters),
                num_splits=num_splits,
                seed=seed,
            )
            values.append(divergence_from_uniform(levels[-1].centroids))
        print(f"{name:28} mean {np.mean(values):.3f}   five seeds {' '.join(f'{value:.3f}' for value in values)}")
        verdict(f"{name}, worst seed", max(values), limit)
        if num_splits == 1:
            print(f"{'':28} below the row before on {np.sum(np.array(values) < above)} of 5 seeds")
            above = np.array(values)


def with_quadrants(images: Path) -> Iterator[bytes]:
    """Each JPEG of a folder, then its four quarters as JPEG."""
    for path in sorted(images.glob("*.jpg")):
        yield path.read_bytes()
        with Image.open(path) as image:
            half_width, half_height = image.width // 2, image.height // 2
            for left, top in itertools.product((0, half_width), (0, half_height)):
                quarter = io.BytesIO()
                image.crop((left, top, left + half_width, top + half_height)).save(quarter, "JPEG", quality=95)
                yield quarter.getvalue()


def stopping(images: Path) -> None:
    vectors = embed_images(with_quadrants(images), load_encoder(EmbedConfig(device="cpu")), batch_size=32).astype(np.float32)
    print(f"{len(vectors)} vectors of {vectors.shape[1]} from {images.name}")
    for k in (50, 200):
        for seed in range(3):
            stopped = fit_kmeans(vectors, FitSettings(k=k), rng=np.random.default_rng(seed))
            whole = fit_kmeans(vectors, FitSettings(k=k, max_iterations=300, tolerance=0), rng=np.random.default_rng(seed))
            ratio = inertia(vectors, stopped.centroids) / inertia(vectors, whole.centroids)
            verdict(f"k = {k}, seed {seed}: inertia stopped early / run to its end", ratio, 1.005)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with threadpool_limits(arguments.threads):
        faiss.omp_set_num_threads(arguments.threads)
        wanted = arguments.parts or ["speed", "flatness"]
        if "speed" in wanted:
            speed(threads=arguments.threads, repeats=arguments.repeats)
        if "flatness" in wanted:
            flatness()
        if arguments.images:
            stopping(arguments.images)
