"""Seeds of k-means: Lloyd moves a centroid within its region, not across the data, so the seeds decide whether a level is flat."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.nearest import Floats, assign, rows_of

__all__ = ["greedy_kmeans_plus_plus"]

_JUDGES_PER_SEED = 16
"""points a seed, drawn at random, that tell which candidate is best; the candidates themselves are drawn from all points"""
_MULTIPLICATIONS = 5_000_000_000
"""of candidates with judges, that seeding may spend to look at more candidates: a fraction of a second"""
_MOST_CANDIDATES = 24
_BLOCK_VALUES = 1 << 25
"""float32 distances of candidates to judges held at once: 128 MiB"""


def greedy_kmeans_plus_plus(points: npt.NDArray[Any], k: int, *, rng: np.random.Generator, num_candidates: int | None = None) -> Floats:
    """Choose k of the points as seeds, (k, d): each the best of several drawn in proportion to squared distance to the seeds so far.

    Best is what leaves the smallest sum of squared distances (Arthur and Vassilvitskii 2007, section 7), summed over all points or,
    where there are more than 16 a seed, over that many drawn at random: rare points are as likely to be drawn as ever, only the
    choice among the drawn is by sample. Candidates are drawn and measured many at a time, in one matrix product; when its turn
    comes, one is accepted with the probability by which its squared distance has shrunk since it was drawn, so that it follows the
    same law as one drawn just then.

    It takes n * k distances and, of candidates to judges, at most 16 * candidates * k**2: for 60,000 points and 1,000 seeds the time of
    five of Lloyd's full iterations. AFK-MC2 (Bachem et al. 2016) with a chain of 200 takes 100 * k**2, as quadratic in k, and was as flat
    on one level (KL of the plane, five seeds: mean 0.352, worst 0.380; greedy 0.353 and 0.365); so very many clusters are split
    (`curation.clustering.splitting`, in memory and by blocks) rather than seeded otherwise: 100,000 clusters in 316 cells are 316 fits of
    316 clusters, and 16 * candidates * k**1.5. A fit of very many clusters that is not split (`num_splits=1`) is seeded like any other, at
    the full k**2.

    Args:
        points: (n, d) float32 or float16, an array or a memmap; read once for every block of candidates.
        k: seeds, at most n; equal points are used twice only when there are no others.
        rng: source of the draws.
        num_candidates: candidates a step; where not given 2 + log(k), and up to 24 where points and seeds are few enough: they make
            the levels' centroids more even (KL of the plane in tests/benchmarks/bench_kmeans.py 0.044 instead of 0.050).
    """
    num_points, dim = points.shape
    judges = np.arange(num_points)
    judged_by_all = num_points <= _JUDGES_PER_SEED * k
    if not judged_by_all:
        judges = np.sort(rng.choice(num_points, _JUDGES_PER_SEED * k, replace=False))
    affordable = _MULTIPLICATIONS // (len(judges) * k * dim)
    trials = num_candidates or max(2 + int(np.log(k)), min(_MOST_CANDIDATES, affordable))
    judge_columns = _columns(rows_of(points, judges))

    seeds = np.empty(k, np.int64)
    seeds[0] = rng.integers(num_points)
    closest = assign(points, rows_of(points, seeds[:1]))[1] ** 2
    closest[seeds[0]] = 0
    to_judge = closest[judges]
    chosen, block = 1, trials
    block_limit = max(trials, min(1024, _BLOCK_VALUES // len(judges)))
    while chosen < k:
        cumulative = np.cumsum(closest, dtype=np.float64)
        if not cumulative[-1] > 0:
            unused = np.setdiff1d(np.arange(num_points), seeds[:chosen])
            seeds[chosen:] = rng.choice(unused, k - chosen, replace=False)
            break
        drawn = np.minimum(np.searchsorted(cumulative, rng.random(block) * cumulative[-1], side="right"), num_points - 1)
        to_drawn = closest[drawn]
        weight_when_drawn = to_drawn * rng.random(block, dtype=np.float32)
        candidates = rows_of(points, drawn)
        rows = _rows(candidates)
        judge_distances, mutual_distances = rows @ judge_columns, rows @ _columns(candidates)
        used, before = 0, chosen
        while chosen < k:
            accepted = used + np.flatnonzero(weight_when_drawn[used:] < to_drawn[used:])[:trials]
            if len(accepted) < trials:
                break
            used = int(accepted[-1]) + 1
            remaining = np.minimum(judge_distances[accepted], to_judge)
            best = int(np.argmin(remaining.sum(axis=1)))
            to_judge = np.maximum(remaining[best], 0)
            seeds[chosen] = drawn[accepted[best]]
            to_drawn = np.maximum(np.minimum(to_drawn, mutual_distances[accepted[best]]), 0)
            to_drawn[drawn == seeds[chosen]] = 0
            chosen += 1
        if chosen == before:  # rounding left weight only on points that are seeds already
            seeds[chosen] = drawn[0]
            chosen += 1
        new = seeds[before:chosen]
        if judged_by_all and used:
            closest = to_judge
        else:
            np.minimum(closest, assign(points, rows_of(points, new))[1] ** 2, out=closest)
        closest[new] = 0
        to_judge = closest[judges]
        efficient = (chosen - before) * trials >= block // 2
        block = min(block_limit, block * 2) if efficient else max(trials, block // 2)
    return rows_of(points, seeds)


def _rows(points: Floats) -> Floats:
    """(m, d + 2): its product with `_columns` is the squared distance of each of these points to each of those."""
    ones = np.ones((len(points), 1), np.float32)
    return np.concatenate([-2 * points, ones, np.einsum("nd,nd->n", points, points)[:, None]], axis=1)


def _columns(points: Floats) -> Floats:
    ones = np.ones((len(points), 1), np.float32)
    return np.concatenate([points, np.einsum("nd,nd->n", points, points)[:, None], ones], axis=1).T
