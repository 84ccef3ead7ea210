"""K-means of more vectors than memory is meant to hold: peak memory of all processes, and time beside a bare FAISS assignment.

    python tests/benchmarks/bench_kmeans_parts.py [--points 5000000] [--dim 384] [--clusters 500 50] [--iterations 3] [--workers 2]
    python tests/benchmarks/bench_kmeans_parts.py --clusters 20000 2000    # a first level in 141 cells

The vectors (float16, 3.84 GB at the default) are generated a block at a time into a temporary folder. The clustering is what `endoforge
curate` does above `max_memory_gb`: two levels, one resampling, at most so many iterations a fit. The limit is a FAISS assignment of the
same vectors to as many centroids by as many processes of one thread, reading the same file and doing nothing else. In cells that is one
to the coarse centroids; all the work is then compared with one assignment to all clusters, too, of which k-means without cells needs one
a pass: it is measured on a slice of the vectors. Processor seconds of all processes are compared as well as the clock, since others may be
at work on the machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import psutil

from curation.clustering.kmeans import hierarchical_kmeans
from curation.clustering.out_of_core.block_pass import assign_block
from curation.clustering.out_of_core.on_disk import OnDisk
from curation.clustering.settings import KMeansSettings
from curation.clustering.splitting import choose_num_splits
from curation.embedding.vector_file import open_vectors, write_vectors
from flows.runners.runners import ProcessRunner, successes

SLICE_ROWS = 1 << 16


def long_tailed(num_points: int, dim: int, num_groups: int = 2000, seed: int = 0) -> Iterator[npt.NDArray[np.float16]]:
    """Unit vectors in groups whose sizes fall as 1 / rank, a slice at a time."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_groups, dim), dtype=np.float32)
    shares = 1 / np.arange(1, num_groups + 1)
    for start in range(0, num_points, SLICE_ROWS):
        rows = min(SLICE_ROWS, num_points - start)
        points = centres[rng.choice(num_groups, rows, p=shares / shares.sum())] + rng.standard_normal((rows, dim), dtype=np.float32)
        yield (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float16)


class PeakMemory:
    """Watches the resident memory of this process and of it with its children, in bytes, ten times a second."""

    def __init__(self) -> None:
        self.driver = self.tree = self.worker = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stopped.wait(0.1):
            mine = process.memory_info().rss
            children = []
            for child in process.children(recursive=True):
                try:
                    children.append(child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue
            self.driver, self.tree = max(self.driver, mine), max(self.tree, mine + sum(children))
            self.worker = max([self.worker, *children])


def processor_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    mine, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return mine.ru_utime + mine.ru_stime + ended.ru_utime + ended.ru_stime


def bare_assignment(bounds: tuple[int, int], *, path: str, num_clusters: int) -> float:
    """FAISS's search of a range of rows; returns the inertia."""
    points = open_vectors(Path(path))
    index = faiss.IndexFlatL2(points.dim)
    index.add(points.read(0, num_clusters))
    total = 0.0
    for start in range(*bounds, SLICE_ROWS):
        total += float(index.search(points.read(start, min(start + SLICE_ROWS, bounds[1])), 1)[0].sum())
    return total


def bare_pass(runner: ProcessRunner, path: Path, num_rows: int, num_clusters: int) -> tuple[float, float]:
    """Seconds and processor seconds of a bare assignment of the first rows by all workers."""
    step = -(-num_rows // runner.num_workers)
    ranges = [(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
    began, began_cpu = time.monotonic(), processor_seconds()
    list(successes(runner.map(bare_assignment, ranges, path=str(path), num_clusters=num_clusters), stage="bare"))
    return time.monotonic() - began, processor_seconds() - began_cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=5_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--clusters", type=int, nargs="+", default=[500, 50])
    parser.add_argument("--iterations", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed-points", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-kmeans-parts-") as name:
        folder = Path(name)
        vectors = write_vectors(folder / "vectors.npy", long_tailed(options.points, options.dim), num_rows=options.points, dim=options.dim)
        print(f"{options.points} x {options.dim} float16, {os.path.getsize(vectors.path) / 1e9:.2f} GB; k = {options.clusters}", flush=True)
        runner = ProcessRunner(options.workers)

        num_cells = choose_num_splits(options.clusters[0], None, num_values=options.points * options.dim)
        in_cells = num_cells > 1
        bare, bare_cpu = bare_pass(runner, vectors.path, options.points, num_cells if in_cells else options.clusters[0])
        print(f"limit: one bare FAISS assignment {bare:.1f} s, {bare_cpu:.1f} processor seconds", flush=True)
        if in_cells:
            rows = min(options.points, SLICE_ROWS * options.workers)
            start, start_cpu = bare_pass(runner, vectors.path, options.workers, options.clusters[0])  # of the workers, not times the slices
            slice_s, slice_cpu = bare_pass(runner, vectors.path, rows, options.clusters[0])
            full = (slice_s - start) * options.points / rows + start
            full_cpu = (slice_cpu - start_cpu) * options.points / rows + start_cpu
            print(f"to all {options.clusters[0]} clusters, by {rows} vectors: {full:.1f} s, {full_cpu:.1f} processor seconds", flush=True)

        passes: list[tuple[int, float]] = []
        seconds_of: dict[str, float] = {}

        def run_map(function: Any, items: Sequence[Any], **shared: Any) -> Iterator[Any]:
            started = time.monotonic()
            yield from successes(runner.map(function, items, **shared), stage="cluster")
            seconds = time.monotonic() - started
            seconds_of[function.__name__] = seconds_of.get(function.__name__, 0) + seconds
            if function is assign_block:
                passes.append((sum(block.stop - block.start for block in items), seconds))

        began, began_cpu = time.monotonic(), processor_seconds()
        with PeakMemory() as peak, runner.reuse_workers():
            points = OnDisk(
                vectors=vectors,
                work=folder / "work",
                run_map=run_map,
                report=lambda sentence: print(f"  {time.monotonic() - began:6.1f} s  {sentence}", flush=True),
                max_seed_points=options.seed_points,
            )
            clusters = tuple(options.clusters)
            settings = KMeansSettings(num_clusters=clusters, num_resamples=1, max_iterations=options.iterations, seed=0)
            levels = hierarchical_kmeans(points, settings)
        total, total_cpu = time.monotonic() - began, processor_seconds() - began_cpu
        whole = [seconds for rows, seconds in passes if rows == options.points]
        print(f"clustering: {total:.1f} s, {total_cpu:.1f} processor seconds; levels {[len(level.centroids) for level in levels]}")
        print(f"passes over all vectors: {len(whole)}, each {np.median(whole):.1f} s (median), {np.median(whole) / bare:.2f} of the limit")
        print("  ".join(f"{name} {seconds:.1f} s" for name, seconds in seconds_of.items()))
        if in_cells:
            print(
                f"all of it over one bare assignment to all clusters: {total / full:.2f}, in processor seconds {total_cpu / full_cpu:.2f}"
            )
        else:
            print(f"all of it in processor seconds, over that many bare assignments: {total_cpu / (len(whole) * bare_cpu):.2f}")
        gib = 1 << 30
        print(
            f"peak memory: all processes {peak.tree / gib:.2f} GiB, driver {peak.driver / gib:.2f}, largest worker {peak.worker / gib:.2f}"
        )


if __name__ == "__main__":
    main()
