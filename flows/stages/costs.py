"""How the cost of each stage grows with its frames, and the rate at which recorded runs say that this machine does it.

Time is fixed seconds and seconds for each unit of work. Memory and disk are upper bounds, from what a stage holds at its peak.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import log
from typing import TYPE_CHECKING

import evaluation.report
from curation import clustering, dedup as duplicates
from curation.config import CurateConfig
from curation.planning import ENCODER_BYTES, PROCESS_BYTES, Cost, Rate

if TYPE_CHECKING:
    from flows.stages.stage import Stage
    from warehouse.plan_sizes import FormerRun

__all__ = ["FARTHEST", "Formula", "Sizes", "place_cost", "rate_of_runs"]

FARTHEST = 1000
"""Most times as many frames as a run worked on that it may be scaled to."""
_ONE_MACHINE_CORES = 32
"""Cores that share work which machines do not share."""
_DRIVER_BYTES = 800_000_000
"""Memory of a driver without workers beside what its stage holds: libraries, and what earlier stages left."""
_VIEWS = 20
"""Forms in which a held-out picture is embedded."""
_EMBEDDING_OPERATIONS = 1e9
"""Operations of distances in the time of embedding one frame."""
_FRAME_OPERATIONS = 3e6
"""Operations of distances in the time of staging a frame for the search, looking up its hash and writing its row."""
_UNEVEN = 1.5
"""Pairs within clusters of unequal size, over those within equal ones."""
_PASSES = 9
"""Passes over all points that seeds and iterations of a k-means fit come to; late iterations compare few centroids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a stage's cost depends on beside the number of frames."""

    config: CurateConfig
    dim: int
    """length of the vectors"""
    jpeg_bytes: float
    """mean of a candidate's JPEG"""
    num_workers: int
    num_pictures: int = 0
    """pictures held out"""

    def of_run(self, run: FormerRun) -> Sizes:
        """The same with the settings that a recorded run had."""
        config, had = self.config, run.config
        if run.stage == "similarity":
            config = replace(config, dedup=replace(config.dedup, num_dedup_clusters=had["num_clusters"]))
        elif run.stage == "cluster":
            levels = tuple(had["num_clusters"]) if had["num_clusters"] else None
            clusters = replace(config.cluster, num_clusters=levels, resample_sizes=None, num_resamples=had["num_resamples"])
            config = replace(config, cluster=clusters)
        return replace(self, config=config, num_pictures=int(run.metrics.get("num_held_out_pictures", 0)))


Formula = Callable[[int, Sizes], Cost]
"""Number of frames that a stage works on (images, for shard) to its cost."""


def rate_of_runs(stage: Stage, runs: Sequence[FormerRun], num_frames: int, sizes: Sizes) -> Rate | None:
    """The rate of a stage's largest recorded run, of several the latest; None if no run says what `num_frames` would take.

    A run says so if it spent `LEAST_VARIABLE_S` beyond its fixed seconds, on a `FARTHEST`-th of the frames or more.
    """
    least_s, least_frames = stage.fixed_s + evaluation.report.LEAST_VARIABLE_S, max(1, num_frames / FARTHEST)
    telling = [run for run in runs if run.stage == stage.name and run.seconds >= least_s and stage.frames_of(run) >= least_frames]
    if not telling or stage.cost is None:
        return None
    largest = max(reversed(telling), key=stage.frames_of)
    done = stage.cost(num_done := stage.frames_of(largest), sizes.of_run(largest))
    core_s = (largest.seconds - stage.fixed_s) * min(sizes.num_workers, done.most_cores)
    return Rate(unit_s=core_s / (done.items * done.item_work), source=f"run of {num_done:,}")


def ingest(num_frames: int, sizes: Sizes) -> Cost:
    """Linear. Each worker has one video in memory."""
    memory, kept = PROCESS_BYTES * (1 + 2 * sizes.num_workers), round(num_frames * (sizes.jpeg_bytes + 1024))
    return Cost(items=num_frames, unit="frame", memory_bytes=memory, kept_bytes=kept)


def embed(num_frames: int, sizes: Sizes) -> Cost:
    """Linear. Each worker has an encoder; a vector takes 2 bytes a number on disk, and its frame's id 66."""
    memory = PROCESS_BYTES + sizes.num_workers * (PROCESS_BYTES + ENCODER_BYTES)
    return Cost(items=num_frames, unit="frame", memory_bytes=memory, kept_bytes=num_frames * (2 * sizes.dim + 66))


def holdout(num_frames: int, sizes: Sizes) -> Cost:
    """Linear in frames and in pictures, each of which is embedded in `_VIEWS` forms that every worker compares with its frames."""
    num_views, dim = _VIEWS * sizes.num_pictures, sizes.dim
    work = _VIEWS * (1 + 2 * dim * num_frames / _EMBEDDING_OPERATIONS)
    memory = PROCESS_BYTES + sizes.num_workers * (PROCESS_BYTES + ENCODER_BYTES + 4 * dim * num_views)
    staged = num_views * (2 * dim + 100) + 400 * num_frames
    return Cost(items=sizes.num_pictures, unit="frame", item_work=work, memory_bytes=memory, kept_bytes=0, staged_bytes=staged)


def similarity(num_frames: int, sizes: Sizes) -> Cost:
    """A frame is compared with k centroids, as long again as these are fitted, and with the frames of its cluster; k is about n / 2500.

    Time grows as n to the power 1.0 up to 1e6 frames and 1.2 at 3e6. From 1e7 on, where centroids are compared in cells, it is 1.1.
    Memory is the sample to fit to or, later, the frames; a worker has the centroids and a block of vectors or of hashes.
    """
    config, dim = sizes.config.dedup, sizes.dim
    k = min(config.num_dedup_clusters or duplicates.default_dedup_clusters(num_frames), num_frames)
    cells, num_tables = duplicates.num_cells(k), len(duplicates.hash_tables(config.dedup_hash_radius))
    compared = (2 * k if cells == 1 else cells + duplicates.PROBED_CELLS * k / cells) + _UNEVEN * num_frames / (2 * k)
    work = 2 * dim * compared + _FRAME_OPERATIONS
    fitted, held = 8 * dim * duplicates.num_fitted(num_frames, dim, k), 80 * num_frames + _table_bytes(num_frames)
    block = max(12 * dim * min(num_frames, 1 << 14), 60 * min(num_frames, duplicates.SHARE_HASHES))
    memory = PROCESS_BYTES + max(fitted, held) + sizes.num_workers * (PROCESS_BYTES + 4 * dim * k + block)
    kept, staged = 100 * num_frames, num_frames * (2 * dim + 400 + 12 * num_tables)
    return Cost(items=num_frames, unit="operation", item_work=work, memory_bytes=memory, kept_bytes=kept, staged_bytes=staged)


def dedup(num_frames: int, sizes: Sizes) -> Cost:
    """Linear, in one thread."""
    memory, kept = _DRIVER_BYTES + _table_bytes(num_frames), 100 * num_frames
    return Cost(items=num_frames, unit="row", most_cores=1, memory_bytes=memory, kept_bytes=kept, staged_bytes=2 * kept)


def cluster(num_frames: int, sizes: Sizes) -> Cost:
    """A level of n points and k clusters takes n k distances a pass, n (s + k / s) in s cells, and again for those that are resampled.

    With the default levels, time grows as n to the power 2 up to 6e5 frames, but falls at 6e4, where the first level is fitted in cells.
    It hardly grows from there to 3e7, for k is capped, and has the power 0.7 to 1.7 above, as there are more cells.

    Memory is the vectors as float32 twice, or `max_memory_gb` if that is less, the centroids three times, and 40 bytes a frame of labels.
    By blocks each worker holds a cell, and the vectors lie on disk a second time, sorted by cell.
    """
    config, dim = sizes.config.cluster, sizes.dim
    levels = config.num_clusters or clustering.default_num_clusters(num_frames)
    cells = clustering.choose_num_splits(levels[0], None, num_values=num_frames * dim)
    distances, points = 0.0, num_frames
    for k, members in zip(levels, clustering.default_resample_sizes(num_frames, levels), strict=True):
        splits = cells if points == num_frames else 1
        seeds = min(1, 16 * k / points) * (2 + log(k / splits))
        refitted = config.num_resamples * min(1, members * k / points)
        distances += points * (splits + k / splits) * ((_PASSES + seeds) * (1 + refitted) + config.num_resamples)
        points = k
    vectors, allowed = 8 * num_frames * dim, int(config.max_memory_gb * 1e9)
    cell = min(8 * clustering.MAX_CELL_VALUES, vectors) if cells > 1 else 0
    workers = sizes.num_workers * (PROCESS_BYTES + cell) if vectors > allowed else 0
    held = max(min(vectors, allowed), _table_bytes(num_frames))
    return Cost(
        items=num_frames,
        unit="operation",
        item_work=2 * dim * distances / num_frames,
        most_cores=_ONE_MACHINE_CORES,
        memory_bytes=_DRIVER_BYTES + held + 16 * dim * sum(levels) + 40 * num_frames + workers,
        kept_bytes=4 * dim * sum(levels) + num_frames * len(levels) * 16,
        staged_bytes=2 * dim * num_frames * (2 if workers and cell else 1),
    )


def place_cost(num_new: int, sizes: Sizes, *, finest: int) -> Cost:
    """New frames in a tree that is there: linear, each is compared with its finest centroids."""
    vectors = min(4 * num_new * sizes.dim, int(sizes.config.cluster.max_memory_gb * 1e9))
    memory, staged = _DRIVER_BYTES + vectors + 8 * sizes.dim * finest + _table_bytes(num_new), 2 * sizes.dim * num_new
    work = 2 * sizes.dim * finest
    return Cost(items=num_new, unit="operation", item_work=work, memory_bytes=memory, kept_bytes=64 * num_new, staged_bytes=staged)


def select(num_frames: int, sizes: Sizes) -> Cost:
    """Linear, in one thread. Leaves that are spread by vectors take more memory, and the vectors once more on disk."""
    spread, chosen = sizes.config.sample.within_leaf == "diverse", min(sizes.config.size, num_frames)
    memory = _DRIVER_BYTES + _table_bytes(num_frames) + 400 * chosen + (280 * num_frames + (1 << 29) if spread else 120 * num_frames)
    kept, staged = 100 * chosen, num_frames * (500 + (2 * sizes.dim if spread else 0))
    return Cost(items=num_frames, unit="row", most_cores=1, memory_bytes=memory, kept_bytes=kept, staged_bytes=staged)


def shard(num_images: int, sizes: Sizes) -> Cost:
    """Linear. An image takes 1,100 bytes beside its JPEG (header, padding, row of the sidecar), and the time of 30,000 more."""
    memory = PROCESS_BYTES * (1 + sizes.num_workers) + 800 * num_images + _table_bytes(num_images)
    kept = round(num_images * (sizes.jpeg_bytes + 1100))
    return Cost(items=num_images, unit="byte", item_work=sizes.jpeg_bytes + 30_000, memory_bytes=memory, kept_bytes=kept)


def _table_bytes(num_rows: int) -> int:
    """Memory of a table while DuckDB sorts it and it is written. Beyond a million rows DuckDB takes more if there is more, or spills."""
    return 3000 * min(num_rows, 1 << 20)
