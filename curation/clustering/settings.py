"""Settings of k-means, and the numbers of clusters and members that suit a number of points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FitSettings", "KMeansSettings", "default_num_clusters", "default_resample_sizes"]

_MOST_FINEST, _MOST_COARSEST = 100_000, 10_000
_LEAST_COARSER = 48
"""Clusters that a level above the finest has at least, by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """One fit of k clusters, and its refits to resampled members."""

    k: int
    num_resamples: int = 0
    resample_size: int = 2
    """members closest to its centroid that a cluster keeps in a resampling step"""
    max_iterations: int = 50
    tolerance: float = 1e-4
    """a fit stops when an iteration lowers its inertia by less than this share of it"""
    spherical: bool = False
    """keep the centroids at unit length, for points of unit length compared by cosine"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KMeansSettings:
    """Hierarchical k-means with resampling."""

    num_clusters: tuple[int, ...]
    """per level, finest first, each below the one before"""
    num_resamples: int = 3
    """resampling steps per level; 0 for plain hierarchical k-means"""
    resample_sizes: tuple[int, ...] | None = None
    """members that a cluster keeps in them, per level; None for `default_resample_sizes`"""
    max_iterations: int = 50
    """most Lloyd iterations of a fit"""
    tolerance: float = 1e-4
    """a fit stops when an iteration lowers its inertia by less than this share of it"""
    num_splits: int | None = None
    """cells that the first level is fitted in, resampling included; None for `choose_num_splits`.
    Levels above are never split. They cost the same for any number of points, and samples get less
    even (tests/benchmarks/bench_curation.py's real pool with the upper three levels in 4 cells:
    entropy 0.76 with equal shares and 0.88 with shares by size, for 0.90)"""
    seed: int
    """of all random choices"""

    def __post_init__(self) -> None:
        sizes = self.num_clusters
        if not sizes or sizes[-1] < 1 or any(fine <= coarse for fine, coarse in itertools.pairwise(sizes)):
            raise ValueError(f"num_clusters is {sizes}; give falling numbers, finest first")
        if self.resample_sizes is not None and len(self.resample_sizes) != len(sizes):
            num_sizes = len(self.resample_sizes)
            raise ValueError(f"resample_sizes has {num_sizes} numbers for {len(sizes)} levels; give one per level")

    def fits(self, num_points: int) -> tuple[FitSettings, ...]:
        """The fit of each level, finest first.

        Raises:
            ValueError: there are fewer points than clusters.
        """
        if self.num_clusters[0] > num_points:
            raise ValueError(f"num_clusters {self.num_clusters} does not fit {num_points} points; give at most as many")
        members = self.resample_sizes or default_resample_sizes(num_points, self.num_clusters)
        return tuple(
            FitSettings(
                k=k,
                num_resamples=self.num_resamples,
                resample_size=r,
                max_iterations=self.max_iterations,
                tolerance=self.tolerance,
            )
            for k, r in zip(self.num_clusters, members, strict=True)
        )


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
