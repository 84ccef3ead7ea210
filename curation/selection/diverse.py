"""The most different points first: farthest-first traversal of a cluster."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Rows", "farthest_first"]


class Rows(Protocol):
    """(n, d) vectors of which rows are asked for: an array, or what reads them from disk."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        """(m, d) at m row numbers."""


def farthest_first(vectors: npt.NDArray[Any], num_points: int, *, first: int) -> npt.NDArray[np.int64]:
    """Start at a point, then always the one farthest from all taken so far (Gonzalez 1985); ties by row.

    The first m are spread at least half as widely as any m points can be, for every m at once. Outliers come early: in a cluster of
    near-identical frames that is the point, in a raw pool it would be a fault.

    Args:
        vectors: (n, d) of one cluster, compared by Euclidean distance.
        num_points: how many to order.
        first: row to start with, for example the one closest to the centroid.

    Returns:
        (min(num_points, n),) rows, none twice. Costs num_points * n * d multiplications and memory for one copy of the vectors.
    """
    points = np.ascontiguousarray(vectors, dtype=np.float32)
    squared_norms = np.einsum("nd,nd->n", points, points)
    closest = np.full(len(points), np.inf, np.float32)
    order = np.empty(min(num_points, len(points)), np.int64)
    row = first
    for position in range(len(order)):
        order[position] = row
        squared = squared_norms + squared_norms[row] - 2 * (points @ points[row])
        np.minimum(closest, np.maximum(squared, 0), out=closest)
        closest[row] = -1  # taken; an equal one that is left has 0
        row = int(np.argmax(closest))
    return order
