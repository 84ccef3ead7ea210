"""The clusters inside which near-duplicates are looked for: fitted to a sample, in two stages where there are very many, and assigned.

Clusters hold a fixed number of points, so k grows with n, and n k distances with the square. Therefore from `_CELLS_FROM` clusters on they
are fitted in s = sqrt(k) cells of a coarse fit, and a point is compared with the coarse centroids and with the clusters of the few nearest
cells: n (s + p k / s) distances, as in an inverted file with p probes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering import (
    FitSettings,
    Floats,
    Ints,
    assign,
    assign_several,
    cell_seeds,
    fit_kmeans,
    shares_by_size,
)

__all__ = [
    "PROBED_CELLS",
    "DedupClusters",
    "assign_points",
    "default_dedup_clusters",
    "fit_clusters",
    "num_cells",
    "num_fitted",
    "sample_rows",
    "unit",
]

_POINTS_PER_CLUSTER = 2500
_FIT_POINTS_PER_CLUSTER = 256
_FIT_VALUES = 1 << 28
"""float32 values of points that clusters are fitted to, at most: 1 GiB"""
_CELLS_FROM = 4000
"""clusters, of ten million points, from which they are fitted in cells. Below, assignment in cells is less than three times as fast, and
all k are affordable: of the pairs of 0.95 cosine in tests/benchmarks/growth_lake.py, 10^6 vectors in 1000 clusters, they find 95.6%"""
PROBED_CELLS = 8
"""cells whose clusters a point is compared with, so that two that are alike but on either side of a cell's border meet all the same: of the
same pairs 1 finds 92.6%, 4 find 94.3%, 8 find 95.1% and 16 find 95.4%"""
_MAX_ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class DedupClusters:
    """Centroids of unit length, those of a cell one after the other."""

    coarse: Floats
    """(s, d) of the cells"""
    fine: Floats
    """(k, d) of the clusters"""
    first: npt.NDArray[np.int64]
    """(s + 1,) where each cell's clusters start, and k; a cell without a cluster is nowhere nearest"""


def default_dedup_clusters(num_points: int) -> int:
    """Clusters such that one holds about 2,500 points: each is compared with all others of its cluster, so cost grows with that number."""
    return max(1, round(num_points / _POINTS_PER_CLUSTER))


def num_cells(num_clusters: int) -> int:
    """Cells that so many clusters are fitted in."""
    return round(num_clusters**0.5) if num_clusters >= _CELLS_FROM else 1


def num_fitted(num_points: int, dim: int, num_clusters: int) -> int:
    """Points that clusters are fitted to: 256 a cluster, fewer where that exceeds 1 GiB, but never fewer than clusters."""
    return min(num_points, max(num_clusters, min(_FIT_POINTS_PER_CLUSTER * num_clusters, _FIT_VALUES // dim)))


def sample_rows(num_points: int, dim: int, num_clusters: int, *, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Ascending rows of the points to fit to. Memory is 8 bytes a point for the while."""
    return np.sort(rng.permutation(num_points)[: num_fitted(num_points, dim, num_clusters)])


def fit_clusters(points: Floats, num_clusters: int, *, rng: np.random.Generator) -> DedupClusters:
    """Fit clusters to points of unit length.

    A cell's share of the clusters is by its points, for clusters are wanted of equal size: the pairs to compare grow with its square.

    Args:
        points: (m, d) a sample.
        num_clusters: at most m.
        rng: of the seeds.
    """
    fit = FitSettings(k=num_clusters, max_iterations=_MAX_ITERATIONS, spherical=True)
    cells = num_cells(num_clusters)
    if cells == 1:
        fine = fit_kmeans(points, fit, rng=rng).centroids
        return DedupClusters(fine.mean(axis=0, keepdims=True), fine, np.array([0, num_clusters]))
    coarse = fit_kmeans(points, replace(fit, k=cells), rng=rng)
    shares = shares_by_size(np.bincount(coarse.assignment, minlength=cells), num_clusters)
    seeds = cell_seeds(cells, rng=rng)
    parts = []
    for cell in np.flatnonzero(shares):
        own, own_fit = points[coarse.assignment == cell], replace(fit, k=int(shares[cell]))
        parts.append(fit_kmeans(own, own_fit, rng=np.random.default_rng(seeds[cell])).centroids)
    fine = np.concatenate(parts)
    used = shares > 0  # a cell that no point is nearest to has no cluster to offer
    return DedupClusters(coarse.centroids[used], fine, np.concatenate([[0], np.cumsum(shares[used])]))


def assign_points(points: Floats, clusters: DedupClusters) -> tuple[Ints, Floats]:
    """Cluster of each point, (n,), and the Euclidean distance to its centroid, (n,): the nearest of all, or of the nearest cell's own.

    Args:
        points: (n, d) of unit length; a block of them, for 8 bytes a point and value are taken.
        clusters: to assign to.
    """
    if len(clusters.coarse) == 1:
        return assign(points, clusters.fine)
    probed = assign_several(points, clusters.coarse, min(PROBED_CELLS, len(clusters.coarse)))
    order = np.argsort(probed, axis=None, kind="stable")
    bounds = np.searchsorted(probed.reshape(-1)[order], np.arange(len(clusters.coarse) + 1))
    cluster_id, distance = np.empty(len(points), np.int32), np.full(len(points), np.inf, np.float32)
    for cell in np.flatnonzero(np.diff(bounds)):
        rows = order[bounds[cell] : bounds[cell + 1]] // probed.shape[1]
        first = clusters.first[cell]
        found, to_found = assign(points[rows], clusters.fine[first : clusters.first[cell + 1]])
        nearer = to_found < distance[rows]
        cluster_id[rows[nearer]], distance[rows[nearer]] = found[nearer] + first, to_found[nearer]
    return cluster_id, distance


def unit(points: npt.NDArray[Any]) -> Floats:
    """The points at unit length, (n, d), in a copy.

    Raises:
        ValueError: a point is zero or not finite.
    """
    scaled = np.array(points, dtype=np.float32, order="C")
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("an embedding is zero or not finite, so it has no cosine similarity; embed its frame again or leave it out")
    scaled /= norms
    return scaled
