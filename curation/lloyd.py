"""One k-means fit: greedy seeds, Lloyd's iterations with early stopping, and no empty cluster where the points allow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.nearest import Floats, Ints, as_float32, assign, assign_and_sum, rows_of
from curation.seeding import greedy_kmeans_plus_plus

__all__ = ["Level", "fit_kmeans", "reseed_empty"]

_SEED_POINTS_PER_CLUSTER = 64
"""seeding looks at this many points a cluster; more does not change where the seeds fall, and costs time in proportion"""
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
    num_points = points.shape[0]
    sample = points
    if num_points > _SEED_POINTS_PER_CLUSTER * k:
        sample = rows_of(points, np.sort(rng.choice(num_points, _SEED_POINTS_PER_CLUSTER * k, replace=False)))
    centroids = greedy_kmeans_plus_plus(as_float32(sample), k, rng=rng)
    if spherical:
        _to_unit_length(centroids)
    previous = np.inf
    for _ in range(max_iterations):
        nearest, distance, sums = assign_and_sum(points, centroids)
        inertia = float(np.dot(distance, distance))
        counts = np.bincount(nearest, minlength=k)
        filled = counts > 0
        if previous - inertia <= tolerance * inertia and filled.all():
            return Level(centroids, nearest, distance)
        previous = inertia
        centroids[filled] = (sums[filled] / counts[filled, None]).astype(np.float32)
        reseed_empty(centroids, counts, points, distance)
        if spherical:
            _to_unit_length(centroids)
    nearest, distance = assign(points, centroids)
    for _ in range(_REPAIR_ROUNDS):
        if not reseed_empty(centroids, np.bincount(nearest, minlength=k), points, distance):
            break
        nearest, distance = assign(points, centroids)
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


def _to_unit_length(centroids: Floats) -> None:
    centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
