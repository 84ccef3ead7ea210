"""Hierarchical k-means with resampling: centroids that cover the data evenly instead of following its density.

The method is that of arXiv 2405.15613, section 3: k-means places centroids flatter than the data's density; clustering the
centroids again, and refitting on the few members closest to each centroid, brings them towards uniform over the support. Seeding
decides whether it works, so it is greedy k-means++; FAISS does the nearest-centroid search of Lloyd's iterations.
"""

from __future__ import annotations

import math

import numpy as np

from curation.clustering.in_memory import InMemory
from curation.clustering.points import Level, Points
from curation.clustering.resampling import fit_resampled
from curation.clustering.settings import KMeansSettings
from curation.clustering.splitting import choose_num_splits, fit_in_cells

__all__ = ["hierarchical_kmeans"]


def hierarchical_kmeans(points: Points, settings: KMeansSettings) -> tuple[Level, ...]:
    """Cluster points, then their centroids, and so on, each level resampled; the finest level first.

    Points in memory and on disk give the same up to rounding, as long as seeds may be chosen from all
    of those on disk. The same seed gives the same result if FAISS and BLAS run with the same number
    of threads. Only the finest level can lie on disk: those above cluster centroids, in memory.

    Raises:
        ValueError: a point is not finite, or the numbers do not fit the points.
    """
    finest, *above = settings.fits(points.vectors.shape[0])
    rng = np.random.default_rng(settings.seed)
    num_splits = choose_num_splits(finest.k, settings.num_splits, num_values=math.prod(points.vectors.shape))
    if num_splits > 1:
        levels = [fit_in_cells(points, finest, num_splits, rng=rng)]
    else:
        levels = [fit_resampled(points, finest, rng=rng)]
    for fit in above:
        levels.append(fit_resampled(InMemory(levels[-1].centroids), fit, rng=rng))
    return tuple(levels)
