"""Hierarchical k-means of vectors that do not fit in memory, or that several machines share: map-reduce over blocks of their rows.

The method, the random draws and the result are those of `curation.clustering.kmeans.hierarchical_kmeans` on the same vectors up to
rounding, as long as the seeds may be chosen from all of them (`max_seed_points`). Only the finest level works on vectors from disk, in
cells where it has very many clusters (`curation.clustering.out_of_core.splitting`): those above cluster centroids, in memory. After every
pass the centroids are written down, and after every cell its fit, so that an interrupted clustering goes on from there.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.clustering.kmeans import default_resample_sizes, hierarchical_kmeans
from curation.clustering.lloyd import Level, reseed_empty
from curation.clustering.nearest import Floats
from curation.clustering.out_of_core.block_pass import Map, Pass, run_pass
from curation.clustering.out_of_core.splitting import fit_in_cells_on_disk
from curation.clustering.resampling import closest_members, is_enough
from curation.clustering.seeding import greedy_kmeans_plus_plus
from curation.clustering.splitting import choose_num_splits
from curation.embedding import VectorFile, open_vectors, write_vectors
from warehouse.store import atomic_file

__all__ = ["hierarchical_kmeans_parts"]

_REPAIR_ROUNDS = 10
_SCAN_ROWS = 1 << 22
"""labels and distances looked at together: some 200 MiB while they are sorted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """How far the finest level is; written after every pass."""

    step: int
    """0 for the fit to all vectors, s for the refit after the s-th resampling"""
    iteration: int
    """passes that this fit has made"""
    is_fitted: bool
    inertia: float
    """of the last pass; infinite before the first, and where an empty cluster has been moved since"""
    centroids: Floats
    rng: dict[str, Any]
    """state of the random numbers after the seeds of this step were drawn"""


def hierarchical_kmeans_parts(
    vectors: VectorFile,
    *,
    num_clusters: Sequence[int],
    num_resamples: int = 3,
    resample_sizes: Sequence[int] | None = None,
    seed: int,
    max_iterations: int = 50,
    tolerance: float = 1e-4,
    num_splits: int | None = None,
    max_seed_points: int = 1 << 20,
    max_cell_points: int = 1 << 19,
    work: Path,
    run_map: Map,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Level, ...]:
    """Cluster vectors on disk, then their centroids, and so on; see `hierarchical_kmeans` for the method and what is not said here.

    Memory of this process is the seeding's sample twice, the centroids, their sums and a scan of labels, and 8 bytes a vector of the
    largest cell; that of a worker is given at `assign_block`, `group_vectors` and `fit_in_cells_on_disk`. Labels, distances, the members
    that a resampling keeps and vectors by cell lie in files; the last take as much disk as the vectors again.

    Seeds are greedy k-means++ everywhere. In cells that is a few hundred a fit, however many clusters there are; very many clusters in one
    fit (`num_splits=1`) take it from `max_seed_points` vectors in this process, 16 (2 + log k) k**2 distances, and are what to avoid.

    Args:
        vectors: (n, d).
        num_clusters: clusters per level, finest first.
        num_resamples: resampling steps of every level.
        resample_sizes: members that a cluster keeps in them, per level.
        seed: of all random choices.
        max_iterations: most Lloyd iterations a fit.
        tolerance: a fit stops when an iteration lowers its inertia by less than this share of it.
        num_splits: cells that the finest level is fitted in; as many as in memory where not given, see `choose_num_splits`.
        max_seed_points: vectors, drawn evenly, that the seeds of a fit by blocks are chosen from where there are more.
        max_cell_points: vectors of a cell up to which one worker fits it in memory; a larger one goes by blocks.
        work: folder of these vectors and settings alone: what is found there is gone on with.
        run_map: where blocks are worked on.
        report: is told of each pass in a sentence.

    Returns:
        One level per number of clusters; assignment and distance of the finest are mapped from files in `work`.

    Raises:
        ValueError: a vector is not finite, or the numbers do not fit them or each other.
    """
    sizes = tuple(num_clusters)
    k, num_points = sizes[0], vectors.num_rows
    split = choose_num_splits(k, num_splits, num_values=num_points * vectors.dim)
    if k > num_points or (k if split == 1 else split) > max_seed_points:
        raise ValueError(f"{k} clusters do not fit {num_points} vectors and seeds out of {max_seed_points}; give fewer, or more memory")
    members = tuple(resample_sizes) if resample_sizes is not None else default_resample_sizes(num_points, sizes)
    rng = np.random.default_rng(seed)
    fit = partial(
        _fit_by_blocks,
        r=members[0],
        max_iterations=max_iterations,
        tolerance=tolerance,
        max_seed_points=max_seed_points,
        run_map=run_map,
        report=report,
    )
    if split == 1:
        finest = fit(vectors, k, steps=num_resamples, rng=rng, work=work)
    else:
        finest = fit_in_cells_on_disk(
            vectors,
            k,
            split,
            steps=num_resamples,
            r=members[0],
            max_iterations=max_iterations,
            tolerance=tolerance,
            rng=rng,
            max_cell_points=max_cell_points,
            work=work,
            fit=fit,
            run_map=run_map,
            report=report,
        )
    if len(sizes) == 1:
        return (finest,)
    above = hierarchical_kmeans(
        finest.centroids,
        num_clusters=sizes[1:],
        num_resamples=num_resamples,
        resample_sizes=members[1:],
        num_splits=1,
        seed=rng,
        max_iterations=max_iterations,
        tolerance=tolerance,
    )
    return (finest, *above)


def _fit_by_blocks(
    vectors: VectorFile,
    k: int,
    *,
    steps: int,
    r: int,
    max_iterations: int,
    tolerance: float,
    max_seed_points: int,
    rng: np.random.Generator,
    work: Path,
    run_map: Map,
    report: Callable[[str], None],
    name: str = "",
) -> Level:
    """`fit_resampled` over vectors on disk; `rng` is then where it was left, also if seeds were drawn before an interruption."""
    work.mkdir(parents=True, exist_ok=True)
    # files of one attempt: a worker that outlives its killed driver must not write into the next one's
    attempt = Path(tempfile.mkdtemp(prefix="attempt-", dir=work))
    progress = _load(work / "progress.npz")
    if progress is not None:
        rng.bit_generator.state = progress.rng
        report(f"clustering goes on after {name}{_where(progress)}")
    found: Pass | None = None
    for step in range(progress.step if progress else 0, steps + 1):
        points = vectors
        if step > 0:
            kept_file = work / f"members-{step}.npy"
            if found is not None:
                kept = _closest_on_disk(found, r)
                if not is_enough(len(kept), k):
                    break
                write_vectors(kept_file, vectors.pieces(kept), num_rows=len(kept), dim=vectors.dim, dtype=vectors.dtype)
            points = open_vectors(kept_file)
        if progress is None or progress.step < step:
            seeds = _seeds(points, k, rng=rng, max_points=max(k, max_seed_points))
            state: dict[str, Any] = dict(rng.bit_generator.state)
            progress = _Progress(step=step, iteration=0, is_fitted=False, inertia=np.inf, centroids=seeds, rng=state)
            _save(work / "progress.npz", progress)
        fitted = None
        if not progress.is_fitted:
            for reached, fitted in _lloyd(points, progress, max_iterations, tolerance, attempt / "fit", run_map):
                progress = reached
                _save(work / "progress.npz", progress)
                report(f"clustering: {name}{_where(progress)}, mean squared distance {fitted.inertia / points.num_rows:.5f}")
        found = (
            fitted
            if step == 0 and fitted
            else run_pass(vectors, progress.centroids, folder=attempt / "all", run_map=run_map, with_sums=False)
        )
    assert progress is not None
    assert found is not None
    return Level(progress.centroids, found.nearest, found.distance)


def _seeds(points: VectorFile, k: int, *, rng: np.random.Generator, max_points: int) -> Floats:
    if points.num_rows <= max_points:
        return greedy_kmeans_plus_plus(points.read(0, points.num_rows), k, rng=rng)
    sample = np.sort(rng.choice(points.num_rows, max_points, replace=False))
    return greedy_kmeans_plus_plus(points.take(sample), k, rng=rng)


def _lloyd(
    points: VectorFile, progress: _Progress, max_iterations: int, tolerance: float, folder: Path, run_map: Map
) -> Iterator[tuple[_Progress, Pass]]:
    """The iterations of `fit_kmeans`; yields after each pass, and is fitted at the last."""
    centroids = progress.centroids.copy()
    iteration = progress.iteration
    while True:
        found = run_pass(points, centroids, folder=folder, run_map=run_map)
        iteration += 1
        if progress.inertia - found.inertia <= tolerance * found.inertia or iteration > max_iterations:
            break
        filled = found.counts > 0
        assert found.sums is not None
        centroids[filled] = (found.sums[filled] / found.counts[filled, None]).astype(np.float32)
        num_reseeded = _move_empty(centroids, found, points)
        # with a cluster just moved the next pass is not the last, whatever it gains
        inertia = np.inf if num_reseeded else found.inertia
        progress = replace(progress, iteration=iteration, inertia=inertia, centroids=centroids.copy())
        yield progress, found
    for _ in range(_REPAIR_ROUNDS):
        if not _move_empty(centroids, found, points):
            break
        found = run_pass(points, centroids, folder=folder, run_map=run_map, with_sums=False)
    yield replace(progress, iteration=iteration, is_fitted=True, inertia=found.inertia, centroids=centroids), found


def _move_empty(centroids: Floats, found: Pass, points: VectorFile) -> int:
    """`reseed_empty`, shown only as many of the farthest points as there are empty clusters."""
    num_empty = int(np.count_nonzero(found.counts == 0))
    if not num_empty:
        return 0
    farthest = np.empty(0, np.int64)
    for start in range(0, len(found.distance), _SCAN_ROWS):
        looked_at = np.concatenate([farthest, np.arange(start, min(start + _SCAN_ROWS, len(found.distance)))])
        farthest = looked_at[np.argsort(-found.distance[looked_at], kind="stable")[:num_empty]]
    return reseed_empty(centroids, found.counts, points.take(farthest), found.distance[farthest])


def _closest_on_disk(found: Pass, r: int) -> npt.NDArray[np.int64]:
    """`closest_members` of labels on disk: the best r of each part, and of those the best r."""
    closest = np.empty(0, np.int64)
    centroids = np.empty((len(found.counts), 0), np.float32)
    for start in range(0, len(found.nearest), _SCAN_ROWS):
        looked_at = np.concatenate([closest, np.arange(start, min(start + _SCAN_ROWS, len(found.nearest)))])
        closest = looked_at[closest_members(Level(centroids, found.nearest[looked_at], found.distance[looked_at]), r)]
    return closest


def _where(progress: _Progress) -> str:
    fit = f"resampling {progress.step}" if progress.step else "first fit"
    return f"{fit}, iteration {progress.iteration}"


def _save(path: Path, progress: _Progress) -> None:
    said = {"step": progress.step, "iteration": progress.iteration, "is_fitted": progress.is_fitted, "rng": progress.rng}
    with atomic_file(path) as file:
        np.savez(file, centroids=progress.centroids, inertia=progress.inertia, said=np.array(json.dumps(said)))


def _load(path: Path) -> _Progress | None:
    if not path.exists():
        return None
    with np.load(path) as stored:
        return _Progress(**json.loads(str(stored["said"])), inertia=float(stored["inertia"]), centroids=stored["centroids"])
