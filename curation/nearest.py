"""Nearest centroids by FAISS, over arrays or memmaps a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse

__all__ = ["Floats", "Ints", "as_float32", "assign", "assign_and_sum", "blocks", "num_faiss_gpus", "rows_of"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

_BLOCK_VALUES = 1 << 25
"""float32 values of points held at once when they come from a memmap or as float16: 128 MiB"""


def assign(points: npt.NDArray[Any], centroids: Floats) -> tuple[Ints, Floats]:
    """Nearest centroid of each point, (n,), and the Euclidean distance to it, (n,)."""
    nearest, distance = np.empty(points.shape[0], np.int32), np.empty(points.shape[0], np.float32)
    index = _index(centroids)
    for start, block in blocks(points):
        nearest[start : start + len(block)], distance[start : start + len(block)] = _search(index, block)
    return nearest, distance


def assign_and_sum(points: npt.NDArray[Any], centroids: Floats) -> tuple[Ints, Floats, npt.NDArray[np.float64]]:
    """One pass over the points: `assign`, and the sum of the points of each cluster, (k, d)."""
    nearest, distance = np.empty(points.shape[0], np.int32), np.empty(points.shape[0], np.float32)
    sums = np.zeros(centroids.shape)
    index = _index(centroids)
    for start, block in blocks(points):
        labels, distances = _search(index, block)
        nearest[start : start + len(block)], distance[start : start + len(block)] = labels, distances
        member = scipy.sparse.csc_array(
            (np.ones(len(block), np.float32), labels, np.arange(len(block) + 1)), shape=(len(centroids), len(block))
        )
        sums += member.tocsr() @ block
    return nearest, distance, sums


def _search(index: Any, block: Floats) -> tuple[Ints, Floats]:
    squared, labels = index.search(block, 1)
    if labels.min(initial=0) < 0 or not np.isfinite(squared).all():
        raise ValueError("the points hold NaN or infinite values; embed their frames again or leave them out")
    return labels[:, 0].astype(np.int32), np.sqrt(np.maximum(squared[:, 0], 0))


def _index(centroids: Floats) -> Any:
    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    return index


def blocks(points: npt.NDArray[Any]) -> Iterator[tuple[int, Floats]]:
    """The points as contiguous float32 with the index of each block's first row; a float32 array in memory is one block."""
    rows = len(points)
    if isinstance(points, np.memmap) or points.dtype != np.float32:
        rows = max(1, _BLOCK_VALUES // points.shape[1])
    for start in range(0, len(points), rows):
        yield start, as_float32(points[start : start + rows])


def rows_of(points: npt.NDArray[Any], indices: npt.NDArray[np.int64]) -> Floats:
    """The rows at these indices, read from disk if need be, as contiguous float32."""
    return as_float32(points[indices])


def as_float32(points: npt.NDArray[Any]) -> Floats:
    """The same values as contiguous float32; the same array where it is that already."""
    return np.ascontiguousarray(points, dtype=np.float32)


def num_faiss_gpus() -> int:
    """GPUs that the installed FAISS can use; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "get_num_gpus") else 0
