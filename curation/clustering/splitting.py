"""Two-stage fits for very many clusters: a coarse k-means first, then each of its cells on its own."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curation.clustering.lloyd import Level, fit_kmeans
from curation.clustering.nearest import Floats, rows_of
from curation.clustering.resampling import fit_resampled

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


class FitCell(Protocol):
    """Fits a cell's points alone."""

    def __call__(self, points: Floats, k: int, /, *, seed: int) -> Level:
        """(m, d) points of a cell and its share of clusters in, the cell's level out."""


def fit_cell(
    points: npt.NDArray[Any], k: int, /, *, seed: int, steps: int, r: int, max_iterations: int = 50, tolerance: float = 1e-4
) -> Level:
    """Fit a cell's points alone, with its own random numbers; see `fit_resampled` and `fit_kmeans` for the settings.

    Its share of the clusters is small, a few hundred of a hundred thousand. That is what makes greedy seeds affordable however many
    clusters a level has: they cost as the square of the clusters of one fit, so k clusters in sqrt(k) cells take sqrt(k) times less.
    """
    fit = partial(fit_kmeans, rng=np.random.default_rng(seed), max_iterations=max_iterations, tolerance=tolerance)
    return fit_resampled(points, k, steps=steps, r=r, fit=fit)


def fit_in_cells(
    points: npt.NDArray[Any], coarse: Level, shares: npt.NDArray[np.int64], *, seeds: npt.NDArray[np.int64], fit: FitCell
) -> Level:
    """Fit the points of each cell of a coarse fit alone to its share of k clusters: n * (s + k / s) distances instead of n * k.

    A point gets the nearest centroid of its own cell; close to a cell's border one of the next cell can be nearer.

    Args:
        points: (n, d) that the coarse fit assigned.
        coarse: fit of s cells.
        shares: (s,) clusters of each cell, k together.
        seeds: (s,) of the cells' fits.
        fit: of one cell.
    """
    sizes = np.bincount(coarse.assignment, minlength=len(coarse.centroids))
    first = np.cumsum(shares) - shares
    members = np.split(np.argsort(coarse.assignment, kind="stable"), np.cumsum(sizes)[:-1])
    centroids = np.empty((int(shares.sum()), points.shape[1]), np.float32)
    assignment, distance = np.empty(len(points), np.int32), np.empty(len(points), np.float32)
    for cell in np.flatnonzero(sizes):
        level = fit(rows_of(points, members[cell]), int(shares[cell]), seed=int(seeds[cell]))
        centroids[first[cell] : first[cell] + shares[cell]] = level.centroids
        assignment[members[cell]], distance[members[cell]] = level.assignment + first[cell], level.distance
    return Level(centroids, assignment, distance)
