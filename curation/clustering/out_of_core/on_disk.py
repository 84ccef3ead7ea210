"""K-means of vectors on disk, as map-reduce over blocks of their rows.

After every pass the centroids are written down, and after every cell its fit, so that an interrupted
fit goes on from there.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from curation.clustering.in_memory import InMemory
from curation.clustering.nearest import Floats, Ints
from curation.clustering.out_of_core.block_pass import Map, assign_blocks
from curation.clustering.out_of_core.vector_groups import GroupedVectors, group_vectors
from curation.clustering.points import Cell, Level, Pass, Progress, Rows
from curation.clustering.resampling import fit_resampled
from curation.clustering.seeding import greedy_kmeans_plus_plus
from curation.clustering.settings import FitSettings
from curation.clustering.splitting import cell_seeds, fit_cell
from curation.embedding import VectorFile, open_vectors, write_vectors
from warehouse.store import atomic_file

__all__ = ["OnDisk", "fit_cell_on_disk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDisk:
    """Vectors on disk, worked on by blocks.

    Memory of this process is the seeding's sample twice, the centroids, their sums and a scan of
    labels; that of a worker is given at `assign_block`, `group_vectors` and `fit_cell_on_disk`.
    Labels, distances, the members that a resampling keeps and vectors by cell lie in files; the last
    take as much disk as the vectors again.
    """

    vectors: VectorFile
    work: Path
    """folder of these vectors and settings alone: a fit goes on from what is found there"""
    run_map: Map
    """where blocks are worked on"""
    report: Callable[[str], None] = lambda _: None
    """is told of each pass in a sentence"""
    max_seed_points: int = 1 << 20
    """vectors, drawn evenly, that seeds are chosen from if there are more"""
    max_cell_points: int = 1 << 19
    """vectors of a cell up to which one worker fits it in memory; a larger one goes by blocks"""
    name: str = ""
    """of the fit in a report"""
    attempt: str = field(default_factory=lambda: f"attempt-{secrets.token_hex(8)}")
    """folder of the files of passes: a worker that outlives its killed driver must not write into
    the next one's"""

    def seeds(self, k: int, *, rng: np.random.Generator) -> Floats:
        """Choose seeds from a sample that memory holds."""
        num_rows, most = self.vectors.num_rows, self.max_seed_points
        if k > most:
            raise ValueError(f"{k} clusters do not fit {num_rows} vectors and seeds out of {most}; give fewer, or more memory")
        if num_rows <= most:
            return greedy_kmeans_plus_plus(self.vectors.read(0, num_rows), k, rng=rng)
        return greedy_kmeans_plus_plus(self.vectors.take(np.sort(rng.choice(num_rows, most, replace=False))), k, rng=rng)

    def members(self, step: int, rows: Rows | None) -> OnDisk:
        """Write the vectors at these rows to a file of their own."""
        name = f"members-{step}"
        if rows is not None:
            return self._copied(name, self.vectors.pieces(rows), len(rows))
        return replace(self, vectors=open_vectors(self.work / name / "vectors.npy"), work=self.work / name)

    def assign(self, centroids: Floats) -> Level:
        """Every vector at its nearest centroid, in files that the next pass writes again."""
        return assign_blocks(self.vectors, centroids, folder=self.work / self.attempt, run_map=self.run_map, with_sums=False)

    def run_pass(self, centroids: Floats, before: Pass | None, moved: npt.NDArray[np.bool_]) -> Pass:
        """Compare all vectors with all centroids: an interrupted fit then goes on to the same bits."""
        return assign_blocks(self.vectors, centroids, folder=self.work / self.attempt, run_map=self.run_map)

    def split(self, coarse: FitSettings, *, rng: np.random.Generator) -> tuple[Ints, npt.NDArray[np.int64]]:
        """Fit the cells by blocks, and write them down."""
        finished, cell_of = self.work / "coarse.npz", self.work / "cell-of.npy"
        if finished.exists():
            with np.load(finished) as stored:
                rng.bit_generator.state = json.loads(str(stored["rng"]))
                return np.load(cell_of, mmap_mode="r"), np.array(stored["seeds"])
        level = fit_resampled(replace(self, work=self.work / "coarse", name="coarse level, "), coarse, rng=rng)
        seeds = cell_seeds(coarse.k, rng=rng)
        with atomic_file(cell_of) as file:
            np.save(file, level.assignment)
        with atomic_file(finished) as file:  # last: the cells are settled
            np.savez(file, seeds=seeds, rng=np.array(json.dumps(rng.bit_generator.state)))
        return level.assignment, seeds

    def fit_cells(self, cells: Sequence[Cell], rows: Sequence[Rows], fit: FitSettings) -> Iterator[tuple[Cell, Level]]:
        """Bring the vectors together by cell, and fit many cells at a time on the workers."""
        missing = [cell for cell in cells if not _fitted_file(self.work, cell).exists()]
        largest = max(cell.size for cell in cells)
        self.report(f"clustering: {len(cells)} cells of up to {largest} vectors, {len(missing)} of them still to fit")
        if missing:
            missing.sort(key=lambda cell: -cell.size)
            groups, by_cell = self.work / "cell-of.npy", self.work / "by-cell"
            grouped = group_vectors(self.vectors, groups, num_groups=len(rows), folder=by_cell, run_map=self.run_map)
            for cell in missing:
                if cell.size > self.max_cell_points:
                    self.report(f"clustering: a cell of {cell.size} vectors goes by blocks")
                    large = self._copied(f"large-{cell.number:06d}", grouped.pieces(cell.number), cell.size)
                    _write_fitted(self.work, cell, fit_cell(replace(large, name=f"cell {cell.number}, "), cell, fit))
                    shutil.rmtree(large.work)
            small = [cell for cell in missing if cell.size <= self.max_cell_points]
            for _ in self.run_map(fit_cell_on_disk, small, by_cell=grouped, work=str(self.work), fit=fit):
                pass
            shutil.rmtree(by_cell)
        for cell in cells:
            with np.load(_fitted_file(self.work, cell)) as found:
                yield cell, Level(found["centroids"], found["assignment"], found["distance"])

    def load(self) -> Progress | None:
        """Read what the last pass wrote down."""
        path = self.work / "progress.npz"
        if not path.exists():
            return None
        with np.load(path) as stored:
            said = json.loads(str(stored["said"]))
            progress = Progress(**said, inertia=float(stored["inertia"]), centroids=stored["centroids"])
        self.report(f"clustering goes on after {self.name}{_where(progress)}")
        return progress

    def save(self, progress: Progress, mean_squared_distance: float | None = None) -> None:
        """Write down what the next pass needs, and report."""
        said = {name: getattr(progress, name) for name in ("step", "iteration", "is_fitted", "rng")}
        with atomic_file(self.work / "progress.npz") as file:
            np.savez(file, centroids=progress.centroids, inertia=progress.inertia, said=np.array(json.dumps(said)))
        if mean_squared_distance is not None:
            self.report(f"clustering: {self.name}{_where(progress)}, mean squared distance {mean_squared_distance:.5f}")

    def _copied(self, name: str, pieces: Iterable[npt.NDArray[Any]], num_rows: int) -> OnDisk:
        """So many vectors, which come some at a time, in a folder of this one."""
        folder, own = self.work / name, self.vectors
        vectors = write_vectors(folder / "vectors.npy", pieces, num_rows=num_rows, dim=own.dim, dtype=own.dtype)
        return replace(self, vectors=vectors, work=folder)


def fit_cell_on_disk(cell: Cell, *, by_cell: GroupedVectors, work: str, fit: FitSettings) -> int:
    """Fit one cell and write what that gave; returns its number.

    It runs on one thread, for the same bits whatever runs it. Memory is 8 bytes a value of its points (12
    if it has fewer than 16 a cluster), 200 MiB and what its centroids take.
    """
    with threadpool_limits(1):
        level = fit_cell(InMemory(by_cell.read(cell.number, cell.size)), cell, fit)
    _write_fitted(Path(work), cell, level)
    return cell.number


def _where(progress: Progress) -> str:
    fit = f"resampling {progress.step}" if progress.step else "first fit"
    return f"{fit}, iteration {progress.iteration}"


def _fitted_file(work: Path, cell: Cell) -> Path:
    return work / f"fitted-{cell.number:06d}.npz"


def _write_fitted(work: Path, cell: Cell, level: Level) -> None:
    with atomic_file(_fitted_file(work, cell)) as file:
        np.savez(file, centroids=level.centroids, assignment=level.assignment, distance=level.distance)
