"""Resampling: a fit is made again on the few members closest to each centroid, which brings centroids towards uniform over the support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.lloyd import Level
from curation.nearest import assign, rows_of

__all__ = ["closest_members", "fit_resampled"]


def fit_resampled(points: npt.NDArray[Any], k: int, *, steps: int, r: int, fit: Callable[[npt.NDArray[Any], int], Level]) -> Level:
    """Fit k clusters to (n, d) points, then so many times anew to the r members closest to each centroid, and assign all points to those.

    arXiv 2405.15613, section 3.2. It stops early where too few distinct points are left to place k centroids on.
    """
    level = fit(points, k)
    for _ in range(steps):
        kept = closest_members(level, r)
        if len(kept) < k:
            break
        refit = fit(rows_of(points, kept), k)
        level = Level(refit.centroids, *assign(points, refit.centroids))
    return level


def closest_members(level: Level, r: int) -> npt.NDArray[np.int64]:
    """Sorted indices of the r members closest to each centroid (fewer where the cluster is smaller)."""
    order = np.lexsort((level.distance, level.assignment))
    counts = np.bincount(level.assignment, minlength=len(level.centroids))
    first = np.cumsum(counts) - counts
    rank = np.arange(len(order)) - first[level.assignment[order]]
    return np.sort(order[rank < r])
