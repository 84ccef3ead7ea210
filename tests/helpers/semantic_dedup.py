"""Semantic deduplication in one process and in memory, to compare the search in worker processes with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.dedup.config import DedupKeep
from curation.dedup.dedup_clusters import assign_points, fit_clusters, sample_rows, unit
from curation.dedup.semantic import keep_order, nearest_before

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_ASSIGNED_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class ClusteredPoints:
    """Who is compared with whom."""

    cluster_id: npt.NDArray[np.int32]
    """(n,)"""
    distance: Floats
    """(n,) Euclidean distance of the unit vector to its centroid, of unit length too"""


@dataclass(frozen=True, slots=True)
class DedupResult:
    """For every point, the most similar one that ranks before it in its cluster."""

    cluster_id: npt.NDArray[np.int32]
    """(n,)"""
    nearest: Ints
    """(n,) index of that point, -1 for the first of a cluster"""
    similarity: Floats
    """(n,) cosine, -1 for the first of a cluster"""
    is_duplicate: npt.NDArray[np.bool_]
    """(n,) similarity at or above the threshold"""


def cluster_points(embeddings: npt.NDArray[Any], *, num_clusters: int, seed: int) -> ClusteredPoints:
    """Cluster by cosine: fitted to a seeded sample, all assigned in blocks; see `fit_clusters`.

    Args:
        embeddings: (n, d) float32 or float16, an array or a memmap.
        num_clusters: clusters, at most n.
        seed: of sample and fit.

    Raises:
        ValueError: a point is zero or not finite.
    """
    num_points, dim = embeddings.shape
    rng = np.random.default_rng(seed)
    clusters = fit_clusters(unit(embeddings[sample_rows(num_points, dim, num_clusters, rng=rng)]), num_clusters, rng=rng)
    cluster_id, distance = np.empty(num_points, np.int32), np.empty(num_points, np.float32)
    for start in range(0, num_points, _ASSIGNED_ROWS):
        rows = slice(start, min(start + _ASSIGNED_ROWS, num_points))
        cluster_id[rows], distance[rows] = assign_points(unit(embeddings[rows]), clusters)
    return ClusteredPoints(cluster_id, distance)


def semantic_dedup(
    embeddings: npt.NDArray[Any],
    *,
    num_clusters: int,
    threshold: float,
    keep: DedupKeep = "farthest",
    blur: Floats | None = None,
    seed: int,
    block_rows: int = 1024,
) -> DedupResult:
    """Find near-duplicates by the rule of SemDeDup (arXiv 2303.09540, section 3), all in this process.

    Points are clustered by cosine and ranked (`keep_order`). A point is a duplicate when any point of its cluster that ranks before it is
    at least `threshold` similar, itself a duplicate or not. The similarity is kept, so that another threshold needs no second run
    (`duplicates_at`).

    Args:
        embeddings: (n, d) float32 or float16, an array or a memmap; scaled to unit length here.
        num_clusters: clusters, at most n; more is faster and misses duplicates that fall in different clusters.
        threshold: cosine similarity, above -1 and at most 1.
        keep: which of two duplicates stays.
        blur: (n,) for "sharpest".
        seed: of the clustering.
        block_rows: rows of a block of similarities; memory is about 4 * block_rows**2 bytes, however large a cluster is.

    Raises:
        ValueError: the arguments do not fit the points, or a point is zero or not finite.
    """
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings have shape {embeddings.shape}; give (n, d)")
    if not -1 < threshold <= 1:
        raise ValueError(f"threshold {threshold} is not a cosine similarity above -1 and at most 1")
    num_points = len(embeddings)
    if num_points == 0:
        return DedupResult(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))
    if not 1 <= num_clusters <= num_points:
        raise ValueError(f"num_clusters {num_clusters} does not fit {num_points} points; give 1 to {num_points}")
    clustered = cluster_points(embeddings, num_clusters=num_clusters, seed=seed)
    nearest = np.full(num_points, -1, np.int64)
    similarity = np.full(num_points, -1, np.float32)
    ranked = keep_order(keep, distance=clustered.distance, blur=blur)
    order = ranked[np.argsort(clustered.cluster_id[ranked], kind="stable")]
    for members in np.split(order, np.flatnonzero(np.diff(clustered.cluster_id[order])) + 1):
        position, cosine = nearest_before(embeddings, members, block_rows=block_rows)
        nearest[members[1:]] = members[position[1:]]
        similarity[members] = cosine
    return DedupResult(clustered.cluster_id, nearest, similarity, similarity >= threshold)


def duplicates_at(result: DedupResult, threshold: float) -> npt.NDArray[np.bool_]:
    """(n,) which points are duplicates at another threshold."""
    return result.similarity >= threshold
