"""Nearest centroids by FAISS, over arrays or memmaps a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse

from curation.embedding import VectorFile

__all__ = [
    "Floats",
    "Ints",
    "Vectors",
    "assign",
    "assign_and_sum",
    "assign_several",
    "blocks",
    "num_faiss_gpus",
    "reassign_and_sum",
    "rows_of",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Vectors = npt.NDArray[Any] | VectorFile
"""(n, d) float32 or float16"""

_BLOCK_VALUES = 1 << 24
"""values of points worked on at once: 64 MiB as float32, 128 MiB where they are summed in float64"""


def assign(points: Vectors, centroids: Floats, sums: npt.NDArray[np.float64] | None = None) -> tuple[Ints, Floats]:
    """Nearest centroid of each point, (n,), and the Euclidean distance to it, (n,).

    The points of each cluster are added to `sums`, (k, d), if it is given.
    """
    nearest, distance = np.empty(points.shape[0], np.int32), np.empty(points.shape[0], np.float32)
    index = _index(centroids)
    for start, block in blocks(points):
        rows = slice(start, start + len(block))
        nearest[rows], distance[rows] = _search(index, block)
        if sums is not None:
            sums += _sums(block, nearest[rows], len(centroids))
    return nearest, distance


def assign_several(points: npt.NDArray[Any], centroids: Floats, num: int) -> Ints:
    """The `num` nearest centroids of each point, (n, num), the nearest first."""
    nearest = np.empty((points.shape[0], num), np.int32)
    index = _index(centroids)
    for start, block in blocks(points):
        nearest[start : start + len(block)] = index.search(block, num)[1]
    return nearest


def assign_and_sum(points: Vectors, centroids: Floats) -> tuple[Ints, Floats, npt.NDArray[np.float64]]:
    """One pass over the points: `assign`, and the sum of the points of each cluster, (k, d)."""
    sums = np.zeros(centroids.shape)
    return *assign(points, centroids, sums), sums


def reassign_and_sum(
    points: npt.NDArray[Any],
    centroids: Floats,
    moved: npt.NDArray[np.bool_],
    nearest: Ints,
    distance: Floats,
    sums: npt.NDArray[np.float64],
) -> npt.NDArray[np.bool_]:
    """`assign_and_sum` again after some centroids have moved, changing its three results in place; exact, and cheaper the fewer moved.

    Every point is compared with the moved centroids. All others are where they were, so none is nearer than the point's own was: only
    a point whose own centroid moved, and that now has no moved centroid within its old distance, is compared with the others too.

    Args:
        points: (n, d), as for `assign`.
        centroids: (k, d) after the move.
        moved: (k,) which of them differ from those that `nearest`, `distance` and `sums` belong to.
        nearest: (n,) cluster of each point before, and after.
        distance: (n,) distance to its centroid before, and after.
        sums: (k, d) of the points of each cluster before, and after.

    Returns:
        (k,) which clusters have other members than before; the sums of the others are the same to the last bit.
    """
    changed = np.zeros(len(centroids), np.bool_)
    movers, stayers = np.flatnonzero(moved), np.flatnonzero(~moved)
    if not len(movers):
        return changed
    to_movers = _index(centroids[movers])
    to_stayers = _index(centroids[stayers]) if len(stayers) else None
    for start, block in blocks(points):
        rows = slice(start, start + len(block))
        old, old_distance = nearest[rows].copy(), distance[rows]
        own_moved = moved[old]
        found, new_distance = _search(to_movers, block)
        new = movers[found].astype(np.int32)
        stays = ~own_moved & (old_distance <= new_distance)
        new[stays], new_distance[stays] = old[stays], old_distance[stays]
        unsure = np.flatnonzero(own_moved & (new_distance > old_distance))
        if to_stayers is not None and len(unsure):
            found, other_distance = _search(to_stayers, block[unsure])
            nearer = other_distance < new_distance[unsure]
            new[unsure[nearer]], new_distance[unsure[nearer]] = stayers[found[nearer]], other_distance[nearer]
        nearest[rows], distance[rows] = new, new_distance
        gone = np.flatnonzero(new != old)
        if len(gone):
            sums += _sums(block[gone], new[gone], len(centroids)) - _sums(block[gone], old[gone], len(centroids))
            changed[new[gone]] = changed[old[gone]] = True
    return changed


def _sums(points: Floats, labels: Ints, k: int) -> npt.NDArray[np.float64]:
    member = scipy.sparse.csc_array((np.ones(len(points)), labels, np.arange(len(points) + 1)), shape=(k, len(points)))
    total: npt.NDArray[np.float64] = member.tocsr() @ points
    return total


def _search(index: Any, block: Floats) -> tuple[Ints, Floats]:
    squared, labels = index.search(block, 1)
    if labels.min(initial=0) < 0 or not np.isfinite(squared).all():
        raise ValueError("the points hold NaN or infinite values; embed their frames again or leave them out")
    return labels[:, 0].astype(np.int32), np.sqrt(np.maximum(squared[:, 0], 0))


def _index(centroids: Floats) -> Any:
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    # On every GPU there is, a copy of the centroids each and the points shared out among them.
    return faiss.index_cpu_to_all_gpus(index) if num_faiss_gpus() else index


def blocks(points: Vectors) -> Iterator[tuple[int, Floats]]:
    """The points as contiguous float32 with the index of each block's first row."""
    num_rows, dim = points.shape
    rows = max(1, _BLOCK_VALUES // dim)
    for start in range(0, num_rows, rows):
        stop = min(start + rows, num_rows)
        block = points.read(start, stop) if isinstance(points, VectorFile) else points[start:stop]
        yield start, np.ascontiguousarray(block, dtype=np.float32)


def rows_of(points: Vectors, rows: npt.NDArray[np.int64]) -> Floats:
    """The points at these rows, read from disk if need be, as contiguous float32."""
    return points.take(rows) if isinstance(points, VectorFile) else np.ascontiguousarray(points[rows], dtype=np.float32)


def num_faiss_gpus() -> int:
    """GPUs that the installed FAISS can use; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
