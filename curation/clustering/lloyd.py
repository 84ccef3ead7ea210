"""One k-means fit: greedy seeds, Lloyd's iterations with early stopping, and no empty cluster where the points allow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.nearest import Floats, Ints, assign_and_sum, reassign_and_sum, rows_of
from curation.clustering.seeding import greedy_kmeans_plus_plus

__all__ = ["Level", "fit_kmeans", "reseed_empty"]

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
    centroids = greedy_kmeans_plus_plus(points, k, rng=rng)
    if spherical:
        centroids = _unit_length(centroids)
    nearest, distance, sums = assign_and_sum(points, centroids)
    changed = np.ones(k, np.bool_)
    inertia = _inertia(distance)
    for _ in range(max_iterations):
        counts = np.bincount(nearest, minlength=k)
        moved = changed & (counts > 0)
        means = (sums[moved] / counts[moved, None]).astype(np.float32)
        centroids[moved] = _unit_length(means) if spherical else means
        reseeded = reseed_empty(centroids, counts, points, distance)
        changed = reassign_and_sum(points, centroids, moved | (counts == 0), nearest, distance, sums)
        previous, inertia = inertia, _inertia(distance)
        if not reseeded and previous - inertia <= tolerance * inertia:
            break
    for _ in range(_REPAIR_ROUNDS):
        counts = np.bincount(nearest, minlength=k)
        if not reseed_empty(centroids, counts, points, distance):
            break
        reassign_and_sum(points, centroids, counts == 0, nearest, distance, sums)
    return Level(centroids, nearest, distance)


def reseed_empty(centroids: Floats, counts: npt.NDArray[np.int64], points: npt.NDArray[Any], distance: Floats) -> int:
    """Move each empty cluster's centroid, in place, to one of the points farthest from their own; returns how many were moved."""
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return 0
    farthest = np.argsort(-distance, kind="stable")[: len(empty)]
    farthest = farthest[distance[farthest] > 0]
    centroids[empty[: len(farthest)]] = rows_of(points, farthest)
    return len(farthest)


def _inertia(distance: Floats) -> float:
    return float(np.sum(np.square(distance, dtype=np.float64)))


def _unit_length(centroids: Floats) -> Floats:
    unit: Floats = centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
    return unit
