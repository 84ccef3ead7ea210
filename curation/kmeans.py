"""Hierarchical k-means with resampling: centroids that cover the data evenly instead of following its density.

The method is that of arXiv 2405.15613, section 3: k-means places centroids flatter than the data's density; clustering the
centroids again, and refitting on the few members closest to each centroid, brings them towards uniform over the support. Seeding
decides whether it works, so it is greedy k-means++; FAISS does the nearest-centroid search of Lloyd's iterations.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse

__all__ = [
    "Level",
    "assign",
    "default_num_clusters",
    "default_resample_sizes",
    "fit_kmeans",
    "frame_paths",
    "greedy_kmeans_plus_plus",
    "hierarchical_kmeans",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

_BLOCK_VALUES = 1 << 25
"""float32 values of points held at once when they come from a memmap or as float16: 128 MiB"""
_SEED_POINTS_PER_CLUSTER = 64
"""seeding looks at this many points a cluster; more does not change where the seeds fall, and costs time in proportion"""
_SEEDING_MULTIPLICATIONS = 5_000_000_000
"""of candidates with points, that seeding may spend to look at more candidates: a fraction of a second"""
_MOST_CANDIDATES = 24
_REPAIR_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the hierarchy; its points are the data, or the centroids of the level below."""

    centroids: Floats
    """(k, d)"""
    assignment: Ints
    """(n,) cluster of each point, 0 to k - 1"""
    distance: Floats
    """(n,) Euclidean distance of each point to its centroid"""


def default_num_clusters(num_points: int) -> tuple[int, ...]:
    """Clusters per level, finest first: about twenty points in a finest cluster, ten clusters in one of the next level.

    At most 100,000 clusters and five levels: 100,000 points give (5000, 500, 50); 1,000 give (50, 5).
    """
    if num_points < 1:
        raise ValueError(f"{num_points} points cannot be clustered; give at least one")
    levels = [min(100_000, max(1, round(num_points / 20)))]
    while levels[-1] >= 50 and len(levels) < 5:
        levels.append(levels[-1] // 10)
    return tuple(levels)


def default_resample_sizes(num_points: int, num_clusters: Sequence[int]) -> tuple[int, ...]:
    """Members kept a cluster in a resampling step, per level: half of the mean cluster, within 2 to 10."""
    below = (num_points, *num_clusters[:-1])
    return tuple(int(np.clip(points // (2 * k), 2, 10)) for points, k in zip(below, num_clusters, strict=True))


def hierarchical_kmeans(
    embeddings: npt.NDArray[Any],
    *,
    num_clusters: Sequence[int],
    num_resamples: int | Sequence[int] = 3,
    resample_sizes: int | Sequence[int] | None = None,
    seed: int | np.random.Generator,
    max_iterations: int = 50,
    tolerance: float = 1e-4,
) -> tuple[Level, ...]:
    """Cluster points, then their centroids, and so on; each level refitted on the members closest to its centroids.

    A resampling step keeps the r members closest to each centroid, fits new centroids to those alone from new seeds, and assigns
    every point to them (arXiv 2405.15613, section 3.2). The same seed gives the same result as long as FAISS and BLAS run with the
    same number of threads.

    Args:
        embeddings: (n, d) float32 or float16, an array or a memmap; float16 and memmaps are converted a block at a time.
        num_clusters: clusters per level, finest first, each below the one before and the first at most n.
        num_resamples: resampling steps, one number or one per level; 0 for plain hierarchical k-means.
        resample_sizes: r, one number or one per level; `default_resample_sizes` where not given.
        seed: of all random choices.
        max_iterations: most Lloyd iterations a fit.
        tolerance: a fit stops when an iteration lowers its inertia by less than this share of it.

    Returns:
        One level per number of clusters, finest first.

    Raises:
        ValueError: the points are not a finite (n, d) array, or the numbers do not fit them or each other.
    """
    sizes = tuple(num_clusters)
    if embeddings.ndim != 2 or embeddings.shape[0] == 0:
        raise ValueError(f"embeddings have shape {embeddings.shape}; k-means needs (n, d) with at least one row")
    if not sizes or sizes[0] > embeddings.shape[0] or sizes[-1] < 1 or any(fine <= coarse for fine, coarse in itertools.pairwise(sizes)):
        raise ValueError(
            f"num_clusters {sizes} does not fit {embeddings.shape[0]} points; "
            "give falling numbers, finest first, none above the number of points"
        )
    resamples = _per_level(num_resamples, sizes, "num_resamples")
    members = (
        default_resample_sizes(embeddings.shape[0], sizes)
        if resample_sizes is None
        else _per_level(resample_sizes, sizes, "resample_sizes")
    )
    rng = np.random.default_rng(seed)
    points: npt.NDArray[Any] = embeddings
    levels: list[Level] = []
    for k, steps, r in zip(sizes, resamples, members, strict=True):
        level = fit_kmeans(points, k, rng=rng, max_iterations=max_iterations, tolerance=tolerance)
        for _ in range(steps):
            kept = _closest_members(level, r)
            if len(kept) < k:  # too few distinct points left to place k centroids on
                break
            refit = fit_kmeans(_rows(points, kept), k, rng=rng, max_iterations=max_iterations, tolerance=tolerance)
            level = Level(refit.centroids, *assign(points, refit.centroids))
        levels.append(level)
        points = level.centroids
    return tuple(levels)


def frame_paths(levels: Sequence[Level]) -> Ints:
    """(n, T) cluster of each point at each level, finest first: a point is where its centroid is, level after level."""
    paths = [levels[0].assignment]
    for level in levels[1:]:
        paths.append(level.assignment[paths[-1]])
    return np.stack(paths, axis=1)


def fit_kmeans(
    points: npt.NDArray[Any],
    k: int,
    *,
    rng: np.random.Generator,
    max_iterations: int = 50,
    tolerance: float = 1e-4,
    spherical: bool = False,
) -> Level:
    """k-means from greedy k-means++ seeds, Lloyd's iterations with sums in float64, no empty cluster where the points allow it.

    Args:
        points: (n, d) float32 or float16, an array or a memmap.
        k: clusters, at most n.
        rng: source of the seeds.
        max_iterations: most iterations.
        tolerance: stop when an iteration lowers the inertia by less than this share of it.
        spherical: keep the centroids at unit length, for points of unit length compared by cosine.
    """
    num_points = points.shape[0]
    sample = points
    if num_points > _SEED_POINTS_PER_CLUSTER * k:
        sample = _rows(points, np.sort(rng.choice(num_points, _SEED_POINTS_PER_CLUSTER * k, replace=False)))
    centroids = greedy_kmeans_plus_plus(_as_float32(sample), k, rng=rng)
    if spherical:
        _to_unit_length(centroids)
    previous = np.inf
    for _ in range(max_iterations):
        nearest, distance, sums = _assign_and_sum(points, centroids)
        inertia = float(np.dot(distance, distance))
        counts = np.bincount(nearest, minlength=k)
        filled = counts > 0
        if previous - inertia <= tolerance * inertia and filled.all():
            return Level(centroids, nearest, distance)
        previous = inertia
        centroids[filled] = (sums[filled] / counts[filled, None]).astype(np.float32)
        _reseed_empty(centroids, counts, points, distance)
        if spherical:
            _to_unit_length(centroids)
    nearest, distance = assign(points, centroids)
    for _ in range(_REPAIR_ROUNDS):
        if not _reseed_empty(centroids, np.bincount(nearest, minlength=k), points, distance):
            break
        nearest, distance = assign(points, centroids)
    return Level(centroids, nearest, distance)


def greedy_kmeans_plus_plus(points: Floats, k: int, *, rng: np.random.Generator, num_candidates: int | None = None) -> Floats:
    """Choose k of the points as seeds, (k, d): each the best of several drawn in proportion to squared distance to the seeds so far.

    Best is what leaves the smallest sum of squared distances (Arthur and Vassilvitskii 2007, section 7). Candidates are drawn and
    measured many at a time, in one matrix product; when its turn comes, one is accepted with the probability by which its squared
    distance has shrunk since it was drawn, so that it follows the same law as one drawn just then.

    Args:
        points: (n, d).
        k: seeds, at most n; equal points are used twice only when there are no others.
        rng: source of the draws.
        num_candidates: candidates a step; where not given 2 + log(k), and up to 24 where points and seeds are few enough: they make
            the levels' centroids more even (KL of the plane in tests/benchmarks/bench_kmeans.py 0.044 instead of 0.050).
    """
    num_points, dim = points.shape
    affordable = _SEEDING_MULTIPLICATIONS // (num_points * k * dim)
    trials = num_candidates or max(2 + int(np.log(k)), min(_MOST_CANDIDATES, affordable))
    squared_norms = np.einsum("nd,nd->n", points, points)
    # With two more columns the product of a candidate's row and a point's row is their squared distance.
    extended = np.concatenate([points, squared_norms[:, None], np.ones((num_points, 1), np.float32)], axis=1)

    def squared_distances(candidates: npt.NDArray[np.int64]) -> Floats:
        rows = np.concatenate([-2 * points[candidates], np.ones((len(candidates), 1), np.float32), squared_norms[candidates, None]], axis=1)
        product: Floats = rows @ extended.T
        return product

    seeds = np.empty(k, np.int64)
    seeds[0] = rng.integers(num_points)
    closest = np.maximum(squared_distances(seeds[:1])[0], 0)
    closest[seeds[0]] = 0
    chosen, block = 1, trials
    block_limit = max(trials, min(512, _BLOCK_VALUES // num_points))
    while chosen < k:
        cumulative = np.cumsum(closest, dtype=np.float64)
        if not cumulative[-1] > 0:
            unused = np.setdiff1d(np.arange(num_points), seeds[:chosen])
            seeds[chosen:] = rng.choice(unused, k - chosen, replace=False)
            break
        drawn = np.minimum(np.searchsorted(cumulative, rng.random(block) * cumulative[-1], side="right"), num_points - 1)
        weight_when_drawn = closest[drawn] * rng.random(block, dtype=np.float32)
        distances = squared_distances(drawn)
        used, before = 0, chosen
        while chosen < k:
            accepted = used + np.flatnonzero(weight_when_drawn[used:] < closest[drawn[used:]])[:trials]
            if len(accepted) < trials:
                break
            used = int(accepted[-1]) + 1
            remaining = np.minimum(distances[accepted], closest)
            best = int(np.argmin(remaining.sum(axis=1)))
            closest = np.maximum(remaining[best], 0)
            seeds[chosen] = drawn[accepted[best]]
            closest[seeds[chosen]] = 0
            chosen += 1
        if chosen == before:  # rounding left weight only on points that are seeds already
            seeds[chosen] = drawn[0]
            closest[drawn[0]] = 0
            chosen += 1
        efficient = (chosen - before) * trials >= block // 2
        block = min(block_limit, block * 2) if efficient else max(trials, block // 2)
    return points[seeds].copy()


def assign(points: npt.NDArray[Any], centroids: Floats) -> tuple[Ints, Floats]:
    """Nearest centroid of each point, (n,), and the Euclidean distance to it, (n,)."""
    nearest, distance = np.empty(points.shape[0], np.int32), np.empty(points.shape[0], np.float32)
    index = _index(centroids)
    for start, block in _blocks(points):
        nearest[start : start + len(block)], distance[start : start + len(block)] = _search(index, block)
    return nearest, distance


def _assign_and_sum(points: npt.NDArray[Any], centroids: Floats) -> tuple[Ints, Floats, npt.NDArray[np.float64]]:
    """One pass over the points: `assign`, and the sum of the points of each cluster, (k, d)."""
    nearest, distance = np.empty(points.shape[0], np.int32), np.empty(points.shape[0], np.float32)
    sums = np.zeros(centroids.shape)
    index = _index(centroids)
    for start, block in _blocks(points):
        labels, distances = _search(index, block)
        nearest[start : start + len(block)], distance[start : start + len(block)] = labels, distances
        member = scipy.sparse.csc_array(
            (np.ones(len(block), np.float32), labels, np.arange(len(block) + 1)), shape=(len(centroids), len(block))
        )
        sums += member.tocsr() @ block
    return nearest, distance, sums


def _search(index: Any, block: Floats) -> tuple[Ints, Floats]:
    squared, labels = index.search(block, 1)
    if labels.min(initial=0) < 0 or not np.isfinite(squared).all():
        raise ValueError("the points hold NaN or infinite values; embed their frames again or leave them out")
    return labels[:, 0].astype(np.int32), np.sqrt(np.maximum(squared[:, 0], 0))


def _index(centroids: Floats) -> Any:
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    return index


def _reseed_empty(centroids: Floats, counts: npt.NDArray[np.int64], points: npt.NDArray[Any], distance: Floats) -> int:
    """Move each empty cluster's centroid, in place, to one of the points farthest from their own; returns how many were moved."""
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return 0
    farthest = np.argsort(-distance, kind="stable")[: len(empty)]
    farthest = farthest[distance[farthest] > 0]
    centroids[empty[: len(farthest)]] = _rows(points, farthest)
    return len(farthest)


def _closest_members(level: Level, r: int) -> npt.NDArray[np.int64]:
    """Sorted indices of the r members closest to each centroid (fewer where the cluster is smaller)."""
    order = np.lexsort((level.distance, level.assignment))
    counts = np.bincount(level.assignment, minlength=len(level.centroids))
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - first[level.assignment[order]]
    return np.sort(order[rank < r])


def _blocks(points: npt.NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """The points as contiguous float32 with the index of each block's first row; a float32 array in memory is one block."""
    rows = len(points)
    if isinstance(points, np.memmap) or points.dtype != np.float32:
        rows = max(1, _BLOCK_VALUES // points.shape[1])
    for start in range(0, len(points), rows):
        yield start, _as_float32(points[start : start + rows])


def _rows(points: npt.NDArray[Any], indices: npt.NDArray[np.int64]) -> Floats:
    return _as_float32(points[indices])


def _as_float32(points: npt.NDArray[Any]) -> Floats:
    return np.ascontiguousarray(points, dtype=np.float32)


def _to_unit_length(centroids: Floats) -> None:
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)


def _per_level(value: int | Sequence[int], num_clusters: tuple[int, ...], name: str) -> tuple[int, ...]:
    values = (value,) * len(num_clusters) if isinstance(value, int) else tuple(value)
    if len(values) != len(num_clusters):
        raise ValueError(f"{name} has {len(values)} numbers for {len(num_clusters)} levels; give one number or one per level")
    return values


def num_faiss_gpus() -> int:
    """GPUs that the installed FAISS can use; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
