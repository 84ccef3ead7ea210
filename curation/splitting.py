"""Two-stage fits for very many clusters: a coarse k-means first, then each of its cells on its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.lloyd import Level
from curation.nearest import Floats, rows_of

__all__ = ["fit_in_cells", "shares_of_cells"]


def shares_of_cells(sizes: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """(s,) clusters for each of s cells of these sizes, k together: as equal as can be, none above its cell's points, the first one more.

    Equal and not in proportion to size, because the coarse centroids already lie flatter than the data and shares by size would undo that.

    Raises:
        ValueError: there are fewer points than clusters.
    """
    if k > sizes.sum():
        raise ValueError(f"{sizes.sum()} points cannot make {k} clusters; give at most as many clusters as points")
    shares = np.zeros_like(sizes)
    while (left := k - int(shares.sum())) > 0:
        open_cells = np.flatnonzero(shares < sizes)
        if left < len(open_cells):
            shares[open_cells[:left]] += 1
        else:
            shares[open_cells] = np.minimum(shares[open_cells] + left // len(open_cells), sizes[open_cells])
    return shares


def fit_in_cells(points: npt.NDArray[Any], coarse: Level, k: int, *, fit: Callable[[Floats, int], Level]) -> Level:
    """Share k clusters out among the cells of a coarse fit and fit each cell's points alone: n * (s + k / s) distances instead of n * k.

    A point gets the nearest centroid of its own cell; close to a cell's border one of the next cell can be nearer.

    Args:
        points: (n, d) that the coarse fit assigned.
        coarse: fit of s cells.
        k: clusters together.
        fit: (m, d) points of a cell and its share of clusters in, the cell's level out.
    """
    sizes = np.bincount(coarse.assignment, minlength=len(coarse.centroids))
    shares = shares_of_cells(sizes, k)
    first = np.cumsum(shares) - shares
    members = np.split(np.argsort(coarse.assignment, kind="stable"), np.cumsum(sizes)[:-1])
    centroids = np.empty((k, points.shape[1]), np.float32)
    assignment, distance = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    for cell in np.flatnonzero(sizes):
        level = fit(rows_of(points, members[cell]), int(shares[cell]))
        centroids[first[cell] : first[cell] + shares[cell]] = level.centroids
        assignment[members[cell]], distance[members[cell]] = level.assignment + first[cell], level.distance
    return Level(centroids, assignment, distance)
