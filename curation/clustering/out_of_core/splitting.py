"""A level of very many clusters over vectors on disk: a coarse fit by blocks, then each of its cells alone, many at a time on the workers.

What `curation.clustering.splitting` does in memory, with the same random numbers. On disk lie, beside the vectors, a copy of them sorted
by cell and what each fitted cell gave: an interrupted fit goes on with the cells that are missing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from curation.clustering.lloyd import Level
from curation.clustering.nearest import Floats, Ints
from curation.clustering.out_of_core.block_pass import Map
from curation.clustering.out_of_core.vector_groups import GroupedVectors, group_vectors
from curation.clustering.splitting import cell_seeds, fit_cell, shares_of_cells
from curation.embedding import VectorFile, write_vectors
from warehouse.store import atomic_file

__all__ = ["Cell", "FitOnDisk", "fit_cell_on_disk", "fit_in_cells_on_disk"]

_JOIN_ROWS = 1 << 20


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the coarse fit, to be fitted alone."""

    number: int
    size: int
    """points"""
    share: int
    """of the clusters"""
    seed: int


class FitOnDisk(Protocol):
    """Fits vectors on disk by blocks."""

    def __call__(self, vectors: VectorFile, k: int, *, steps: int, rng: np.random.Generator, work: Path, name: str) -> Level:
        """Give k clusters after so many resamplings; goes on with what is in `work`, where labels and distances may lie."""


def fit_in_cells_on_disk(
    vectors: VectorFile,
    k: int,
    num_cells: int,
    *,
    steps: int,
    r: int,
    max_iterations: int,
    tolerance: float,
    rng: np.random.Generator,
    max_cell_points: int,
    work: Path,
    fit: FitOnDisk,
    run_map: Map,
    report: Callable[[str], None],
) -> Level:
    """Fit k clusters in cells, a point at the nearest centroid of its own cell: see `fit_in_cells`, whose result this is up to rounding.

    A cell of up to `max_cell_points` is read and fitted by one worker, in 8 bytes a value of its points (12 where it has fewer than 16 a
    cluster), 200 MiB and what its centroids take. A larger one is written to a file of its own and fitted by blocks like the coarse level,
    by all workers, so that no worker holds it; that gives the same as long as `fit` may choose seeds from all of the cell.

    Args:
        vectors: (n, d).
        k: clusters.
        num_cells: of the coarse fit.
        steps: resampling steps of a cell.
        r: members that a cluster keeps in them.
        max_iterations: most Lloyd iterations a cell's fit.
        tolerance: a cell's fit stops when an iteration lowers its inertia by less than this share of it.
        rng: of the coarse fit and the cells' seeds.
        max_cell_points: that one worker reads.
        work: folder of this fit alone.
        fit: by blocks.
        run_map: where cells are worked on.
        report: is told how far it is.

    Returns:
        The level, assignment and distance mapped from files in `work`.
    """
    cell_of = work / "cell-of.npy"
    seeds = _coarse(vectors, num_cells, rng=rng, work=work, cell_of=cell_of, fit=fit)
    sizes = np.zeros(num_cells, np.int64)
    labels = np.load(cell_of, mmap_mode="r")
    for start in range(0, len(labels), _JOIN_ROWS):
        sizes += np.bincount(labels[start : start + _JOIN_ROWS], minlength=num_cells)
    shares = shares_of_cells(sizes, k)
    cells = [Cell(c, int(sizes[c]), int(shares[c]), int(seeds[c])) for c in np.argsort(-sizes, kind="stable") if sizes[c]]
    missing = [cell for cell in cells if not _fitted_file(work, cell.number).exists()]
    report(f"clustering: {len(cells)} cells of up to {sizes.max()} vectors, {len(missing)} of them still to fit")
    if missing:
        by_cell = group_vectors(vectors, cell_of, num_groups=num_cells, folder=work / "by-cell", run_map=run_map)
        for cell in missing:
            if cell.size > max_cell_points:
                report(f"clustering: a cell of {cell.size} vectors goes by blocks")
                _fit_large(by_cell, cell, steps=steps, work=work, fit=fit)
        small = [cell for cell in missing if cell.size <= max_cell_points]
        settings = {"steps": steps, "r": r, "max_iterations": max_iterations, "tolerance": tolerance}
        for _ in run_map(fit_cell_on_disk, small, by_cell=by_cell, work=str(work), settings=settings):
            pass
    shutil.rmtree(work / "by-cell", ignore_errors=True)
    return _joined(cells, sizes, shares, vectors, work)


def fit_cell_on_disk(cell: Cell, *, by_cell: GroupedVectors, work: str, settings: dict[str, Any]) -> int:
    """Fit one cell and write what that gave; returns its number. On one thread, for the same bits whatever runs it."""
    with threadpool_limits(1):
        level = fit_cell(by_cell.read(cell.number, cell.size), cell.share, seed=cell.seed, **settings)
    _write_fitted(Path(work), cell.number, level)
    return cell.number


def _coarse(
    vectors: VectorFile, num_cells: int, *, rng: np.random.Generator, work: Path, cell_of: Path, fit: FitOnDisk
) -> npt.NDArray[np.int64]:
    """Write each vector's cell, and return the cells' seeds; `rng` is then where it was left, also if all of it was there before."""
    finished = work / "coarse.npz"
    if finished.exists():
        with np.load(finished) as stored:
            rng.bit_generator.state = json.loads(str(stored["rng"]))
            return np.array(stored["seeds"])
    level = fit(vectors, num_cells, steps=0, rng=rng, work=work / "coarse", name="coarse level, ")
    seeds = cell_seeds(num_cells, rng=rng)
    with atomic_file(cell_of) as file:
        np.save(file, level.assignment)
    with atomic_file(finished) as file:  # last: the cells are settled
        np.savez(file, seeds=seeds, rng=np.array(json.dumps(rng.bit_generator.state)))
    return seeds


def _fit_large(by_cell: GroupedVectors, cell: Cell, *, steps: int, work: Path, fit: FitOnDisk) -> None:
    folder = work / f"large-{cell.number:06d}"
    own = write_vectors(folder / "vectors.npy", by_cell.pieces(cell.number), num_rows=cell.size, dim=by_cell.dim, dtype=by_cell.dtype)
    name = f"cell {cell.number}, "
    _write_fitted(work, cell.number, fit(own, cell.share, steps=steps, rng=np.random.default_rng(cell.seed), work=folder, name=name))
    shutil.rmtree(folder)


def _joined(cells: list[Cell], sizes: npt.NDArray[np.int64], shares: npt.NDArray[np.int64], vectors: VectorFile, work: Path) -> Level:
    """All cells' centroids one after the other, and labels and distances, which lie by cell, in the order of the vectors."""
    first_row, first_cluster = np.cumsum(sizes) - sizes, np.cumsum(shares) - shares
    centroids = np.empty((int(shares.sum()), vectors.dim), np.float32)
    by_cell = _mapped(work, "by-cell", vectors.num_rows)
    for cell in cells:
        place, own = first_row[cell.number], first_cluster[cell.number]
        with np.load(_fitted_file(work, cell.number)) as found:
            centroids[own : own + cell.share] = found["centroids"]
            by_cell[0][place : place + cell.size] = found["assignment"] + own
            by_cell[1][place : place + cell.size] = found["distance"]
    in_order = _mapped(work, "level", vectors.num_rows)
    cell_of = np.load(work / "cell-of.npy", mmap_mode="r")
    done = first_row.copy()
    for start in range(0, vectors.num_rows, _JOIN_ROWS):
        labels = np.array(cell_of[start : start + _JOIN_ROWS])
        order = np.argsort(labels, kind="stable")
        counts = np.bincount(labels, minlength=len(sizes))
        # of the rows in order: where their cell goes on, and which of its rows of this stretch each is
        rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
        source = np.repeat(done, counts) + rank
        for ordered, sorted_values in zip(in_order, by_cell, strict=True):
            values = np.empty(len(labels), ordered.dtype)
            values[order] = sorted_values[source]
            ordered[start : start + len(labels)] = values
        done += counts
    return Level(centroids, *in_order)


def _mapped(work: Path, name: str, num_rows: int) -> tuple[Ints, Floats]:
    return (
        np.lib.format.open_memmap(work / f"{name}-assignment.npy", "w+", np.int32, (num_rows,)),
        np.lib.format.open_memmap(work / f"{name}-distance.npy", "w+", np.float32, (num_rows,)),
    )


def _fitted_file(work: Path, cell: int) -> Path:
    return work / f"fitted-{cell:06d}.npz"


def _write_fitted(work: Path, cell: int, level: Level) -> None:
    with atomic_file(_fitted_file(work, cell)) as file:
        np.savez(file, centroids=level.centroids, assignment=level.assignment, distance=level.distance)
