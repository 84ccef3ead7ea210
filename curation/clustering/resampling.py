"""Resampling: a fit is made again on the few members closest to each centroid, which brings centroids towards uniform over the support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.lloyd import Level
from curation.clustering.nearest import assign, rows_of

__all__ = ["closest_members", "fit_resampled", "is_enough"]

_LEAST_KEPT = 100
"""Members that a resampling step needs.

Of 40 centroids in 8 clusters a step keeps 2 a cluster, about 12 in all. A fit of 8 clusters to those puts most of them on single outliers,
and one cluster gets nearly everything: see tests/benchmarks/bench_few_vectors.py.
"""


def fit_resampled(points: npt.NDArray[Any], k: int, *, steps: int, r: int, fit: Callable[[npt.NDArray[Any], int], Level]) -> Level:
    """Fit k clusters to (n, d) points, then so many times anew to the r members closest to each centroid, and assign all points to those.

    arXiv 2405.15613, section 3.2. It stops early if what would be kept is not enough (`is_enough`).
    """
    level = fit(points, k)
    for _ in range(steps):
        kept = closest_members(level, r)
        if not is_enough(len(kept), k):
            break
        refit = fit(rows_of(points, kept), k)
        level = Level(refit.centroids, *assign(points, refit.centroids))
    return level


def is_enough(num_kept: int, k: int) -> bool:
    """Whether so many kept members can be fitted again with k clusters: at least k, and at least `_LEAST_KEPT`."""
    return num_kept >= max(k, _LEAST_KEPT)


def closest_members(level: Level, r: int) -> npt.NDArray[np.int64]:
    """Sorted indices of the r members closest to each centroid (fewer where the cluster is smaller)."""
    order = np.lexsort((level.distance, level.assignment))
    counts = np.bincount(level.assignment, minlength=len(level.centroids))
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - first[level.assignment[order]]
    return np.sort(order[rank < r])
