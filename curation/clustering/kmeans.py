"""Hierarchical k-means with resampling: centroids that cover the data evenly instead of following its density.

The method is that of arXiv 2405.15613, section 3: k-means places centroids flatter than the data's density; clustering the
centroids again, and refitting on the few members closest to each centroid, brings them towards uniform over the support. Seeding
decides whether it works, so it is greedy k-means++; FAISS does the nearest-centroid search of Lloyd's iterations.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.lloyd import Level, fit_kmeans
from curation.clustering.nearest import Ints
from curation.clustering.resampling import fit_resampled
from curation.clustering.splitting import cell_seeds, choose_num_splits, fit_cell, fit_in_cells, shares_of_cells

__all__ = ["default_num_clusters", "default_resample_sizes", "frame_paths", "hierarchical_kmeans"]

_MOST_FINEST, _MOST_COARSEST = 100_000, 10_000
_LEAST_COARSER = 48
"""Clusters that a level above the finest has at least, by default."""


def default_num_clusters(num_points: int) -> tuple[int, ...]:
    """Clusters per level, finest first: from six points in a finest cluster, by equal ratios, to 48 points in one of the coarsest.

    At most 100,000 of the finest and 10,000 of the coarsest, in four levels: 100,000 points give (16667, 8333, 4166, 2083).
    No level above the finest has fewer than 48 clusters, so fewer than some 2,300 points give fewer levels: k-means of a few dozen
    centroids puts single outliers apart and 70 to 90% of the frames into one cluster (tests/benchmarks/bench_few_vectors.py). With a
    least of 80 the samples of 1,364 phantom frames were less even in each of three pools.
    Steps of two and not of ten, because a coarsest cluster that holds many kinds of picture gives them all one share: over groups of
    known size (tests/benchmarks/bench_curation.py) samples were the less even the fewer coarsest clusters there were.
    """
    if num_points < 1:
        raise ValueError(f"{num_points} points cannot be clustered; give at least one")
    finest = min(_MOST_FINEST, max(1, round(num_points / 6)))
    coarsest = min(_MOST_COARSEST, max(1, round(num_points / 48)))
    ratio = (finest / coarsest) ** (1 / 3)
    levels = [finest]
    for step in (1, 2, 3):
        if _LEAST_COARSER <= (num_clusters := round(finest / ratio**step)) < levels[-1]:
            levels.append(num_clusters)
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
    num_splits: int | None = None,
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
        num_splits: cells of a coarse k-means that the first level is fitted in, one after the other, resampling included; 1 for none.
            Where not given, `choose_num_splits`, from 10,000 clusters on: 100,000 cost 632 distances a point and pass, not 100,000.
            Cells get equal shares of the clusters, and a point the nearest centroid of its own cell. Levels above are never split: they
            cost the same however many points there are, and samples get less even, whether cells get equal shares or shares by size
            (tests/benchmarks/bench_curation.py's real pool with the upper three levels in 4 cells: entropy .76 and .88 for .90).

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
    split = choose_num_splits(sizes[0], num_splits, num_values=embeddings.size)
    fit = partial(fit_kmeans, rng=rng, max_iterations=max_iterations, tolerance=tolerance)
    points: npt.NDArray[Any] = embeddings
    levels: list[Level] = []
    for k, steps, r in zip(sizes, resamples, members, strict=True):
        if not levels and split > 1:
            coarse, seeds = fit(points, split), cell_seeds(split, rng=rng)
            own = partial(fit_cell, steps=steps, r=r, max_iterations=max_iterations, tolerance=tolerance)
            shares = shares_of_cells(np.bincount(coarse.assignment, minlength=split), k)
            level = fit_in_cells(points, coarse, shares, seeds=seeds, fit=own)
        else:
            level = fit_resampled(points, k, steps=steps, r=r, fit=fit)
        levels.append(level)
        points = level.centroids
    return tuple(levels)


def frame_paths(levels: Sequence[Level]) -> Ints:
    """(n, T) cluster of each point at each level, finest first: a point is where its centroid is, level after level."""
    paths = [levels[0].assignment]
    for level in levels[1:]:
        paths.append(level.assignment[paths[-1]])
    return np.stack(paths, axis=1)


def _per_level(value: int | Sequence[int], num_clusters: tuple[int, ...], name: str) -> tuple[int, ...]:
    values = (value,) * len(num_clusters) if isinstance(value, int) else tuple(value)
    if len(values) != len(num_clusters):
        raise ValueError(f"{name} has {len(values)} numbers for {len(num_clusters)} levels; give one number or one per level")
    return values
