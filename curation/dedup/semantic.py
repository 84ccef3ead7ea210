"""Semantic deduplication: near-duplicates by cosine similarity of embeddings, looked for inside clusters (SemDeDup, arXiv 2303.09540).

One order over all frames says who stays, here and for exact copies and look-alikes (`keep_order`); a frame goes when one before it is too
like it, whether that one stays or not. Therefore each frame's score depends on no threshold, and a frame that is an exact copy of an
earlier one can be left out of every other search: whatever comes after the copy comes after its original, which is as like it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.dedup.config import DedupKeep
from curation.dedup.dedup_clusters import assign_points, fit_clusters, sample_rows, unit

__all__ = [
    "ClusteredPoints",
    "DedupResult",
    "cluster_points",
    "duplicates_at",
    "keep_order",
    "nearest_before",
    "semantic_dedup",
]

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


def keep_order(keep: DedupKeep, *, distance: Floats, blur: Floats | None = None) -> Ints:
    """(n,) indices of the points, those to keep first; of equals the earlier index.

    Args:
        keep: the farthest from its cluster's centroid first, the closest first, or the sharpest first.
        distance: (n,) to the centroid of the point's cluster.
        blur: (n,) variance of the Laplacian, low is blurred; unknown (NaN) ranks last. Needed for "sharpest".

    Raises:
        ValueError: the sharpest are to be kept and no blur is given.
    """
    if keep != "sharpest":
        return np.argsort(-distance if keep == "farthest" else distance, kind="stable")
    if blur is None:
        raise ValueError("dedup_keep 'sharpest' needs the blur of every point; give it, or keep 'farthest' or 'closest'")
    return np.argsort(-np.nan_to_num(blur, nan=-np.inf), kind="stable")


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


def nearest_before(
    vectors: npt.NDArray[Any], members: Ints, *, first: int = 0, last: int | None = None, block_rows: int = 1024
) -> tuple[Ints, Floats]:
    """For each of the ranked members first to last, the position of the most similar member before it, and their cosine.

    -1 and -1 for the very first; of equally similar ones the earliest is named. Vectors are read and compared block_rows at a time, so
    that memory does not grow with the cluster.

    Args:
        vectors: (n, d) an array or a memmap, not scaled.
        members: (m,) rows of `vectors` that form one cluster, by rank.
        first: of the members that are looked up; those before are only compared with.
        last: end of the members that are looked up; all where not given.
        block_rows: members of a block.
    """
    last = len(members) if last is None else last
    nearest = np.full(last - first, -1, np.int64)
    similarity = np.full(last - first, -1, np.float32)
    for start in range(first, last, block_rows):
        stop = min(start + block_rows, last)
        best, cosine = nearest[start - first : stop - first], similarity[start - first : stop - first]  # views
        own = unit(vectors[members[start:stop]])
        for column in (*range(0, start, block_rows), start):
            is_own = column == start
            other = own if is_own else unit(vectors[members[column : min(column + block_rows, start)]])
            product = own @ other.T
            if is_own:
                product[np.triu_indices(len(product))] = -np.inf  # itself and those after it
            found = product.argmax(axis=1)
            value = np.clip(product[np.arange(len(product)), found], None, 1)
            # A later block must be strictly better; in the first block anything real beats the -1 of "none yet".
            better = (value > cosine) | ((best < 0) & np.isfinite(value))
            best[better], cosine[better] = column + found[better], np.maximum(value[better], -1)
    return nearest, similarity
