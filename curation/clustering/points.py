"""What a fit of k-means asks of its points, whether they lie in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curation.clustering.nearest import Floats, Ints, Vectors
from curation.clustering.settings import FitSettings

__all__ = ["Cell", "Level", "Pass", "Points", "Progress", "Rows"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the hierarchy; its points are the data, or the centroids of the level below."""

    centroids: Floats
    """(k, d)"""
    assignment: Ints
    """(n,) cluster of each point, 0 to k - 1"""
    distance: Floats
    """(n,) Euclidean distance of each point to its centroid"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass(Level):
    """Every point at its nearest centroid, and what the next centroids follow from."""

    inertia: float
    """sum of squared distances"""
    counts: npt.NDArray[np.int64]
    """(k,) points of each centroid"""
    sums: npt.NDArray[np.float64]
    """(k, d) sum of the points of each centroid"""
    changed: npt.NDArray[np.bool_]
    """(k,) which may have other points than in the pass before"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a fit is, after a pass."""

    step: int
    """0 for the fit to all points, s for the refit after the s-th resampling"""
    iteration: int = 0
    """passes that this fit has made"""
    is_fitted: bool = False
    inertia: float = np.inf
    """of the last pass; infinite before the first, and if an empty cluster has been moved since"""
    centroids: Floats
    rng: dict[str, Any]
    """state of the random numbers after the seeds of this step were drawn"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a coarse fit, to be fitted alone."""

    number: int
    size: int
    """points"""
    share: int
    """of the clusters"""
    seed: int


class Points(Protocol):
    """(n, d) points."""

    @property
    def vectors(self) -> Vectors:
        """All of them."""

    def seeds(self, k: int, *, rng: np.random.Generator) -> Floats:
        """Choose k of the points as seeds, (k, d)."""

    def members(self, step: int, rows: Rows | None) -> Points:
        """The points at ascending row numbers, which a step keeps; those that it kept if None."""

    def assign(self, centroids: Floats) -> Level:
        """Every point at its nearest centroid."""

    def run_pass(self, centroids: Floats, before: Pass | None, moved: npt.NDArray[np.bool_]) -> Pass:
        """Assign and sum, some centroids having moved since `before`, whose arrays may be changed."""

    def split(self, coarse: FitSettings, *, rng: np.random.Generator) -> tuple[Ints, npt.NDArray[np.int64]]:
        """Fit k cells; returns (n,) the cell of each point, and (k,) a seed for each cell."""

    def fit_cells(self, cells: Sequence[Cell], rows: Sequence[Rows], fit: FitSettings) -> Iterable[tuple[Cell, Level]]:
        """Fit each cell alone; `rows` has the ascending rows of every cell by number."""

    def load(self) -> Progress | None:
        """How far an interrupted fit of these points came."""

    def save(self, progress: Progress, mean_squared_distance: float | None = None) -> None:
        """Note how far the fit is; the distance is of the pass that it has just made."""
