"""K-means of points in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.nearest import Floats, Ints, assign, assign_and_sum, reassign_and_sum, rows_of
from curation.clustering.points import Cell, Level, Pass, Progress, Rows
from curation.clustering.resampling import fit_resampled
from curation.clustering.seeding import greedy_kmeans_plus_plus
from curation.clustering.settings import FitSettings
from curation.clustering.splitting import cell_seeds, fit_cell

__all__ = ["InMemory", "fit_kmeans"]


@dataclass(frozen=True, slots=True)
class InMemory:
    """(n, d) points: float32 or float16, an array or a memmap, converted a block at a time.

    Nothing is saved of an interrupted fit.
    """

    vectors: npt.NDArray[Any]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.shape[0] == 0:
            raise ValueError(f"embeddings have shape {self.vectors.shape}; k-means needs (n, d) with at least one row")

    def seeds(self, k: int, *, rng: np.random.Generator) -> Floats:
        """Choose seeds from all points."""
        return greedy_kmeans_plus_plus(self.vectors, k, rng=rng)

    def members(self, step: int, rows: Rows | None) -> InMemory:
        """A copy of the points at these rows."""
        assert rows is not None
        return InMemory(rows_of(self.vectors, rows))

    def assign(self, centroids: Floats) -> Level:
        """Every point at its nearest centroid."""
        return Level(centroids, *assign(self.vectors, centroids))

    def run_pass(self, centroids: Floats, before: Pass | None, moved: npt.NDArray[np.bool_]) -> Pass:
        """Compare with the centroids that moved: less time than whole passes (docs/benchmarks.md)."""
        if before is None:
            nearest, distance, sums = assign_and_sum(self.vectors, centroids)
            changed = moved
        else:
            nearest, distance, sums = before.assignment, before.distance, before.sums
            changed = reassign_and_sum(self.vectors, centroids, moved, nearest, distance, sums)
        inertia = float(np.sum(np.square(distance, dtype=np.float64)))
        counts = np.bincount(nearest, minlength=len(centroids))
        return Pass(centroids, nearest, distance, inertia=inertia, counts=counts, sums=sums, changed=changed)

    def split(self, coarse: FitSettings, *, rng: np.random.Generator) -> tuple[Ints, npt.NDArray[np.int64]]:
        """Fit the cells."""
        return fit_resampled(self, coarse, rng=rng).assignment, cell_seeds(coarse.k, rng=rng)

    def fit_cells(self, cells: Sequence[Cell], rows: Sequence[Rows], fit: FitSettings) -> Iterator[tuple[Cell, Level]]:
        """Fit one cell after the other."""
        for cell in cells:
            yield cell, fit_cell(InMemory(rows_of(self.vectors, rows[cell.number])), cell, fit)

    def load(self) -> Progress | None:
        """Nothing."""

    def save(self, progress: Progress, mean_squared_distance: float | None = None) -> None:
        """Nothing."""


def fit_kmeans(points: npt.NDArray[Any], fit: FitSettings, *, rng: np.random.Generator) -> Level:
    """Fit k clusters, at most n, to (n, d) points."""
    return fit_resampled(InMemory(points), fit, rng=rng)
