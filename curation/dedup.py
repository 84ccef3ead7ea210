"""Semantic deduplication: near-duplicates by cosine similarity of embeddings, looked for inside clusters (SemDeDup, arXiv 2303.09540)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curation.kmeans import assign, fit_kmeans

__all__ = ["DedupResult", "default_dedup_clusters", "duplicates_at", "nearest_before", "semantic_dedup"]

Floats = npt.NDArray[np.float32]

_FIT_POINTS_PER_CLUSTER = 256
_NORMALISE_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class DedupResult:
    """For every point, the most similar one that ranks before it in its cluster."""

    cluster_id: npt.NDArray[np.int32]
    """(n,)"""
    nearest: npt.NDArray[np.int64]
    """(n,) index of that point, -1 for the first of a cluster"""
    similarity: Floats
    """(n,) cosine, -1 for the first of a cluster"""
    is_duplicate: npt.NDArray[np.bool_]
    """(n,) similarity at or above the threshold"""


def default_dedup_clusters(num_points: int) -> int:
    """Clusters such that one holds about 2,500 points: each is compared with all others of its cluster, so cost grows with that number."""
    return max(1, round(num_points / 2500))


def semantic_dedup(
    embeddings: npt.NDArray[Any],
    *,
    num_clusters: int,
    threshold: float,
    keep: Literal["farthest", "closest"] = "farthest",
    seed: int,
    block_rows: int = 1024,
) -> DedupResult:
    """Find near-duplicates by the rule of SemDeDup (arXiv 2303.09540, section 3).

    Points are clustered by cosine and ranked within their cluster by distance to its centroid, ties by index. A point is a duplicate
    when any point that ranks before it is at least `threshold` similar, itself a duplicate or not. The similarity is kept, so that
    another threshold needs no second run (`duplicates_at`). The clusters only say who is compared with whom: they are fitted to a
    seeded sample of 256 points a cluster.

    Args:
        embeddings: (n, d) float32 or float16, an array or a memmap; scaled to unit length here.
        num_clusters: clusters, at most n; more is faster and misses duplicates that fall in different clusters.
        threshold: cosine similarity, above -1 and at most 1.
        keep: which point of a cluster ranks first: the one farthest from its centroid, or the closest.
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
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.permutation(num_points)[: _FIT_POINTS_PER_CLUSTER * num_clusters])
    centroids = fit_kmeans(_unit(embeddings, sample), num_clusters, rng=rng, max_iterations=20, spherical=True).centroids

    cluster_id = np.empty(num_points, np.int32)
    distance = np.empty(num_points, np.float32)
    for start in range(0, num_points, _NORMALISE_ROWS):
        rows = slice(start, min(start + _NORMALISE_ROWS, num_points))
        cluster_id[rows], distance[rows] = assign(_unit(embeddings, rows), centroids)

    nearest = np.full(num_points, -1, np.int64)
    similarity = np.full(num_points, -1, np.float32)
    rank_key = -distance if keep == "farthest" else distance
    order = np.lexsort((rank_key, cluster_id))
    for members in np.split(order, np.flatnonzero(np.diff(cluster_id[order])) + 1):
        position, cosine = nearest_before(_unit(embeddings, members), block_rows=block_rows)
        nearest[members[1:]] = members[position[1:]]
        similarity[members] = cosine
    return DedupResult(cluster_id, nearest, similarity, similarity >= threshold)


def duplicates_at(result: DedupResult, threshold: float) -> npt.NDArray[np.bool_]:
    """(n,) which points are duplicates at another threshold."""
    return result.similarity >= threshold


def nearest_before(ranked: Floats, *, block_rows: int = 1024) -> tuple[npt.NDArray[np.int64], Floats]:
    """For each unit vector of (n, d), the most similar one before it and their cosine; -1 and -1 for the first.

    Of equally similar ones the earliest is named. Similarities are computed in blocks of block_rows x block_rows.
    """
    num_points = len(ranked)
    nearest = np.full(num_points, -1, np.int64)
    similarity = np.full(num_points, -1, np.float32)
    for row in range(0, num_points, block_rows):
        rows = slice(row, min(row + block_rows, num_points))
        best, cosine = nearest[rows], similarity[rows]  # views
        for column in range(0, rows.stop, block_rows):
            product = ranked[rows] @ ranked[column : min(column + block_rows, num_points)].T
            if column == row:
                product[np.triu_indices(len(product))] = -np.inf  # itself and those after it
            found = product.argmax(axis=1)
            value = np.clip(product[np.arange(len(product)), found], None, 1)
            # A later block must be strictly better; in the first block anything real beats the -1 of "none yet".
            better = (value > cosine) | ((best < 0) & np.isfinite(value))
            best[better], cosine[better] = column + found[better], np.maximum(value[better], -1)
    return nearest, similarity


def _unit(embeddings: npt.NDArray[Any], rows: slice | npt.NDArray[np.int64]) -> Floats:
    points = np.array(embeddings[rows], dtype=np.float32, order="C")  # a copy, for the next lines write to it
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 0).all()):
        raise ValueError("an embedding is zero or not finite, so it has no cosine similarity; embed its frame again or leave it out")
    points /= norms
    return points
