"""Two-stage fits for very many clusters: a coarse k-means first, then each of its cells on its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from curation.clustering.points import Cell, Level, Points
from curation.clustering.resampling import fit_resampled
from curation.clustering.settings import FitSettings

__all__ = ["MAX_CELL_VALUES", "cell_seeds", "choose_num_splits", "fit_cell", "fit_in_cells", "shares_by_size", "shares_of_cells"]

_SPLIT_FROM = 10_000
"""clusters of a first level from which it is fitted in cells where nothing else is asked for"""
_CELL_VALUES = 1 << 25
"""of the points of a mean cell, at most: with the copy that seeding makes a worker then holds 256 MiB of float32, however many there are"""

MAX_CELL_VALUES = 4 * _CELL_VALUES
"""of the points of a cell that a worker fits in memory, in 8 bytes each: 1 GiB. Larger ones go by blocks, one after the other. No setting
changes it, for a cell is the same either way only up to rounding"""


def choose_num_splits(k: int, asked: int | None, *, num_values: int) -> int:
    """Cells to fit k clusters in: as many as asked for; else, from 10,000 clusters on, the square root of k, which takes the fewest
    distances, or as many more as bring a mean cell of all `num_values` values down to what a worker holds; else one.

    Raises:
        ValueError: there would be more cells than clusters.
    """
    chosen = min(k, max(round(k**0.5), -(-num_values // _CELL_VALUES))) if k >= _SPLIT_FROM else 1
    num_splits = chosen if asked is None else asked
    if not 1 <= num_splits <= k:
        raise ValueError(f"num_splits {asked} does not fit {k} clusters; give 1 to {k}, or none to have it chosen")
    return num_splits


def cell_seeds(num_cells: int, *, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """(s,) a seed for each cell, so that its fit is the same whoever makes it and whatever was fitted before it."""
    return rng.integers(np.iinfo(np.int64).max, size=num_cells)


def shares_of_cells(sizes: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """(s,) clusters for each of s cells of these sizes, k together: as equal as can be, none above its cell's points, the first one more.

    Equal and not in proportion to size, because the coarse centroids already lie flatter than the data and shares by size would undo that
    (tests/benchmarks/bench_kmeans.py's plane, three levels in 55 cells without resampling: KL 0.083 against 0.149, three seeds).

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


def shares_by_size(sizes: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """(s,) clusters for each of s cells, k together, in proportion to its points: for clusters of equal size, where that is what counts.

    A cell with a point has one cluster, and of the rest its share by largest remainder, of equal ones the first; none has more clusters
    than points.

    Raises:
        ValueError: there are fewer points than clusters, or fewer clusters than cells with a point.
    """
    used = (sizes > 0).astype(np.int64)
    spare, wanted = sizes - used, k - int(used.sum())
    if not 0 <= wanted <= spare.sum():
        raise ValueError(f"{k} clusters do not fit {used.sum()} cells of {sizes.sum()} points; give as many as cells to as many as points")
    whole, rest = np.divmod(spare * wanted, max(1, int(spare.sum())))
    whole[np.argsort(-rest, kind="stable")[: wanted - int(whole.sum())]] += 1
    return used + whole


def fit_cell(points: Points, cell: Cell, fit: FitSettings) -> Level:
    """Fit a cell's points alone, with its own random numbers.

    Its share of the clusters is small, a few hundred of a hundred thousand. That makes greedy seeds
    affordable: they cost as the square of the clusters of one fit, so k clusters in sqrt(k) cells
    take sqrt(k) times less.
    """
    return fit_resampled(points, replace(fit, k=cell.share), rng=np.random.default_rng(cell.seed))


def fit_in_cells(points: Points, fit: FitSettings, num_cells: int, *, rng: np.random.Generator) -> Level:
    """Fit k clusters in s cells of a coarse fit: n * (s + k / s) distances instead of n * k.

    A point gets the nearest centroid of its own cell; close to a cell's border one of the next cell
    can be nearer. Memory is 20 bytes a point, and what the cells take.
    """
    cell_of, seeds = points.split(replace(fit, k=num_cells, num_resamples=0), rng=rng)
    sizes = np.bincount(cell_of, minlength=num_cells)
    shares = shares_of_cells(sizes, fit.k)
    first = np.cumsum(shares) - shares
    rows = np.split(np.argsort(cell_of, kind="stable"), np.cumsum(sizes)[:-1])
    cells = [Cell(int(c), int(sizes[c]), int(shares[c]), int(seeds[c])) for c in np.flatnonzero(sizes)]
    centroids = np.empty((fit.k, points.vectors.shape[1]), np.float32)
    assignment, distance = np.empty(len(cell_of), np.int32), np.empty(len(cell_of), np.float32)
    for cell, level in points.fit_cells(cells, rows, fit):
        start, own = first[cell.number], rows[cell.number]
        centroids[start : start + cell.share] = level.centroids
        assignment[own], distance[own] = level.assignment + start, level.distance
    return Level(centroids, assignment, distance)
