"""Resampling: refits to the few members closest to each centroid, towards uniform over the support."""

from __future__ import annotations

import numpy as np

from curation.clustering.lloyd import best_rows, lloyd, unit_length
from curation.clustering.points import Level, Pass, Points, Progress, Rows
from curation.clustering.settings import FitSettings

__all__ = ["closest_members", "fit_resampled"]

_LEAST_KEPT = 100
"""Members that a resampling step needs.

Of 40 centroids in 8 clusters a step keeps 2 a cluster, about 12 in all. A fit of 8 clusters to those puts most of them on single outliers,
and one cluster gets nearly everything: see tests/benchmarks/bench_few_vectors.py.
"""


def fit_resampled(points: Points, fit: FitSettings, *, rng: np.random.Generator) -> Level:
    """Fit k clusters to all points, then again to the members closest to each centroid.

    Every point is assigned to the last centroids (arXiv 2405.15613, section 3.2). It stops early if
    fewer members than clusters, or than `_LEAST_KEPT`, would be kept. An interrupted fit of points
    on disk goes on, with `rng` as that fit left it.
    """
    progress = points.load()
    if progress is not None:
        rng.bit_generator.state = progress.rng
    level: Level | None = None
    for step in range(progress.step if progress else 0, fit.num_resamples + 1):
        sample = points
        if step > 0:
            kept = closest_members(level, fit.resample_size) if level else None
            if kept is not None and len(kept) < max(fit.k, _LEAST_KEPT):
                break
            sample = points.members(step, kept)
        if progress is None or progress.step < step:
            seeds = sample.seeds(fit.k, rng=rng)
            seeds = unit_length(seeds) if fit.spherical else seeds
            progress = Progress(step=step, centroids=seeds, rng=dict(rng.bit_generator.state))
            points.save(progress)
        found: Pass | None = None
        for reached, found in lloyd(sample, progress, fit):
            progress = reached
            points.save(progress, found.inertia / sample.vectors.shape[0])
        level = found if found is not None and step == 0 else points.assign(progress.centroids)
    assert level is not None
    return level


def closest_members(level: Level, r: int) -> Rows:
    """Sorted indices of the r members closest to each centroid (fewer where the cluster is smaller)."""

    def closest(rows: Rows) -> Rows:
        own, distance = level.assignment[rows], level.distance[rows]
        order = np.lexsort((distance, own))
        counts = np.bincount(own, minlength=len(level.centroids))
        first = np.cumsum(counts) - counts
        rank = np.arange(len(order)) - first[own[order]]
        return np.sort(order[rank < r])

    return best_rows(len(level.assignment), closest)
