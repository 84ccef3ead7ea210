"""Seeds of k-means: Lloyd moves a centroid within its region, not across the data, so the seeds decide whether a level is flat."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.nearest import Floats

__all__ = ["greedy_kmeans_plus_plus"]

_MULTIPLICATIONS = 5_000_000_000
"""of candidates with points, that seeding may spend to look at more candidates: a fraction of a second"""
_MOST_CANDIDATES = 24
_BLOCK_VALUES = 1 << 25
"""float32 distances of candidates to points held at once: 128 MiB"""


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
    affordable = _MULTIPLICATIONS // (num_points * k * dim)
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
