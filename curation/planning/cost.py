"""What each stage of curation costs: sizes and rates in, seconds and bytes out. Nothing is measured or read here.

Times are of work that a machine does at a known rate (`Rates`), so that a former run corrects them: what that run took, over what these
formulas give for its sizes, is a factor on what they give for others. Memory and disk are upper bounds to plan by, not what is used; beside
that memory DuckDB takes up to 80% of what there is while it gathers what a stage reads, and spills the rest to the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log

from curation.clustering import MAX_CELL_VALUES, choose_num_splits, default_num_clusters, default_resample_sizes
from curation.dedup import PROBED_CELLS, SHARE_HASHES, default_dedup_clusters, num_cells, num_fitted

__all__ = [
    "ENCODER_BYTES",
    "PROCESS_BYTES",
    "STAGE_S",
    "Cost",
    "Rates",
    "cluster_cost",
    "corrected",
    "dedup_cost",
    "embed_cost",
    "holdout_cost",
    "place_cost",
    "search_cost",
    "select_cost",
    "shard_cost",
    "started",
]

STAGE_S = 1.0
"""of every stage, whatever its size: plans are looked up, a transaction is committed"""
PROCESS_BYTES = 400_000_000
"""of a process that has the libraries imported"""
ENCODER_BYTES = 1_300_000_000
"""of a worker's encoder, a batch's activations and the pictures of the next, above that: what EfficientNet-Lite0 takes (bench_growth)"""
ROW_BYTES = 400
"""of a frame in a table in memory: its ids as text, times four"""
SEARCHED_BYTES = 80
"""of a frame that is searched, in this process; its ids stay on disk"""
LLOYD_PASSES = 8
"""full passes over the points that Lloyd's iterations of a fit come to: late ones compare with the few centroids that moved"""
SPILLED_BYTES = 300
"""of a frame that is sorted where DuckDB's memory ends: ids and hashes as text"""
SEARCH_OVER_SCAN = 20
"""time of a hash that is searched in a table, over that of one that is passed over"""
UNEVEN = 1.5
"""pairs of one cluster in those of clusters of equal size: the mean square of the clusters' sizes over the squared mean"""
VIEWS = 20
"""forms of a held-out picture that are embedded"""
TAR_BYTES = 1100
"""of an image in a tar beside its JPEG: a header, padding, and its row in the sidecar"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast one machine is."""

    num_workers: int
    start_s: float
    """seconds until the workers of a stage have started and imported what they need"""
    load_s: float
    """seconds that one worker takes to load the encoder"""
    encode_s: float
    """seconds that one worker takes for a frame: to decode it and to embed it"""
    assign_flops: float
    """floating-point operations a second, this process with all its threads, looking for nearest centroids"""
    num_threads: int | None = None
    """of this process; as many as there are workers where not given"""
    compare_flops: float
    """the same of one worker that compares vectors"""
    hash_s: float
    """seconds that one worker takes for a hash in one hash table"""
    order_s: float
    """seconds that ordering takes for a point"""
    copy_bytes: float
    """bytes a second that one worker copies to disk and hashes"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one stage."""

    items: int
    seconds: float
    memory_bytes: int
    """at its peak, of all processes together"""
    kept_bytes: int
    """of disk, for good"""
    staged_bytes: int = 0
    """of disk, until the stage ends"""
    fixed_s: float = STAGE_S
    """of the seconds, whatever the stage's size"""


def started(number: int) -> int:
    """Done by a worker as soon as it has imported this module, and with it what the stages without an encoder import."""
    return number


def embed_cost(num_frames: int, *, dim: int, rates: Rates) -> Cost:
    """Frames are shared out among workers, each with an encoder of its own; a vector takes 2 bytes a number, and its frame's id 66."""
    return Cost(
        items=num_frames,
        fixed_s=(fixed_s := STAGE_S + rates.start_s + rates.load_s),
        seconds=fixed_s + num_frames * rates.encode_s / rates.num_workers,
        memory_bytes=PROCESS_BYTES + rates.num_workers * (PROCESS_BYTES + ENCODER_BYTES),
        kept_bytes=num_frames * (2 * dim + 66),
    )


def holdout_cost(num_pictures: int, num_frames: int, *, dim: int, rates: Rates) -> Cost:
    """Each picture in `VIEWS` forms is embedded, and every form compared with every frame."""
    num_views = VIEWS * num_pictures
    compared = 2.0 * num_frames * num_views * dim
    return Cost(
        items=num_pictures,
        fixed_s=(fixed_s := STAGE_S + rates.start_s + rates.load_s),
        seconds=fixed_s + (num_views * rates.encode_s + compared / rates.compare_flops) / rates.num_workers,
        memory_bytes=PROCESS_BYTES + rates.num_workers * (PROCESS_BYTES + ENCODER_BYTES + 4 * num_views * dim),
        kept_bytes=0,
        staged_bytes=num_views * (2 * dim + 100) + num_frames * ROW_BYTES,
    )


def search_cost(
    num_frames: int, *, dim: int, num_clusters: int | None, num_tables: int, rates: Rates, num_pairs: int | None = None
) -> Cost:
    """Stage n vectors, fit k clusters to a sample (`num_fitted`), assign all, compare within clusters, look hashes up.

    Assignment, on the workers: n k distances of 2 d operations, in s cells n (s + p k / s), p of them probed; comparison: UNEVEN n^2 / 2k
    pairs of 2 d, or as many as are known. Memory is of the fit or, later, of the frames and a million rows that are written at a time, and
    of each worker a block of vectors or a share of a hash table.
    """
    k = min(num_clusters or default_dedup_clusters(num_frames), num_frames)
    fitted, cells = num_fitted(num_frames, dim, k), num_cells(k)
    fit = _fit_distances(fitted, k) if cells == 1 else _fit_distances(fitted, cells) + cells * _fit_distances(fitted / cells, k / cells)
    assigned = num_frames * (k if cells == 1 else cells + min(cells, PROBED_CELLS) * k / cells)
    worker_flops = rates.assign_flops / (rates.num_threads or rates.num_workers)
    pairs = UNEVEN * num_frames**2 / (2 * k) if num_pairs is None else num_pairs
    staged = 2 * dim * num_frames
    scans = -(-num_frames // SHARE_HASHES) / SEARCH_OVER_SCAN  # each share of a table is picked out of all hashes
    shared = 2 * dim * (assigned / worker_flops + pairs / rates.compare_flops) + num_tables * num_frames * (1 + scans) * rates.hash_s
    return Cost(
        items=num_frames,
        fixed_s=(fixed_s := STAGE_S + rates.start_s),
        seconds=fixed_s
        + staged / rates.copy_bytes
        + 2 * dim * fit / rates.assign_flops
        + shared / rates.num_workers
        + 4 * num_frames * rates.order_s,
        memory_bytes=PROCESS_BYTES * (1 + rates.num_workers)
        + max(8 * dim * fitted, num_frames * SEARCHED_BYTES + 2 * min(num_frames, 1 << 20) * ROW_BYTES)
        + rates.num_workers * (4 * dim * k + max(12 * dim * min(num_frames, 1 << 14), 60 * min(num_frames, SHARE_HASHES))),
        kept_bytes=num_frames * ROW_BYTES // 4,
        staged_bytes=staged + num_frames * (100 + 12 * num_tables + SPILLED_BYTES),
    )


def dedup_cost(num_frames: int, *, rates: Rates) -> Cost:
    """A table of the scores is read, decided by, and written, a million rows at a time."""
    return Cost(
        items=num_frames,
        seconds=STAGE_S + 2 * num_frames * rates.order_s,
        memory_bytes=PROCESS_BYTES + 2 * min(num_frames, 1 << 20) * ROW_BYTES,
        kept_bytes=num_frames * ROW_BYTES // 4,
        staged_bytes=num_frames * ROW_BYTES // 2,
    )


def cluster_cost(
    num_frames: int,
    *,
    dim: int,
    num_clusters: Sequence[int] | None,
    num_resamples: int,
    resample_sizes: Sequence[int] | None,
    max_iterations: int,
    max_memory_gb: float,
    rates: Rates,
) -> Cost:
    """Per level of n points and k clusters: a fit, and per resampling step a fit to r k members and n k distances; see `_fit_distances`.

    A first level of very many clusters is fitted in s cells (`choose_num_splits`): n s + n k / s in place of n k. Memory is the vectors
    as float32 twice, or `max_memory_gb` where that is less, three times the centroids (one is of float64 sums), and 40 bytes a frame of
    labels and their order. By blocks a worker holds a cell (`MAX_CELL_VALUES`), and the vectors lie on disk a second time, sorted by cell.
    """
    sizes = tuple(num_clusters or default_num_clusters(num_frames))
    members = tuple(resample_sizes or default_resample_sizes(num_frames, sizes))
    in_memory = 8 * num_frames * dim <= max_memory_gb * 1e9
    num_cells = (choose_num_splits(sizes[0], None, num_values=num_frames * dim), *[1] * (len(sizes) - 1))
    by_cell = num_cells[0] > 1 and not in_memory
    distances = by_blocks = 0.0
    for n, k, r, cells in zip((num_frames, *sizes[:-1]), sizes, members, num_cells, strict=True):
        coarse = _fit_distances(n, cells, max_iterations) if cells > 1 else 0.0
        points, centroids = n / cells, k / cells
        kept = min(points, r * centroids)
        step = _fit_distances(kept, centroids, max_iterations) + points * centroids
        level = coarse + cells * (_fit_distances(points, centroids, max_iterations) + num_resamples * step)
        if in_memory or n != num_frames:
            distances += level
        else:
            by_blocks += level
    block_flops = rates.assign_flops * rates.num_workers / (rates.num_threads or rates.num_workers)
    staged = 2 * dim * num_frames
    return Cost(
        items=num_frames,
        seconds=STAGE_S
        + staged / rates.copy_bytes
        + 2 * dim * (distances / rates.assign_flops + by_blocks / block_flops)
        + 4 * num_frames * rates.order_s,
        memory_bytes=PROCESS_BYTES
        + int(min(8 * num_frames * dim, max_memory_gb * 1e9))
        + 16 * dim * sum(sizes)
        + 40 * num_frames
        + (0 if in_memory else rates.num_workers * PROCESS_BYTES)
        + (8 * rates.num_workers * min(MAX_CELL_VALUES, num_frames * dim) if by_cell else 0),
        kept_bytes=4 * dim * sum(sizes) + num_frames * len(sizes) * 16,
        staged_bytes=2 * staged if by_cell else staged,
    )


def place_cost(num_new: int, *, dim: int, finest: int, max_memory_gb: float, rates: Rates) -> Cost:
    """New frames are compared with the finest centroids of a tree that is there: n k distances."""
    staged = 2 * dim * num_new
    return Cost(
        items=num_new,
        seconds=STAGE_S + staged / rates.copy_bytes + 2 * dim * num_new * finest / rates.assign_flops + 4 * num_new * rates.order_s,
        memory_bytes=PROCESS_BYTES + int(min(4 * num_new * dim, max_memory_gb * 1e9)) + 8 * dim * finest + num_new * ROW_BYTES,
        kept_bytes=num_new * 64,
        staged_bytes=staged,
    )


def select_cost(num_frames: int, *, size: int, rates: Rates, spread_dim: int = 0) -> Cost:
    """Of all clustered frames the numbers are read and ordered, in 120 bytes each; then the first `size` are written with their ids. Leaves
    that are spread by vectors of `spread_dim` values take 280 and 512 MiB, and the vectors once more on disk.
    """
    return Cost(
        items=num_frames,
        seconds=STAGE_S + 2 * num_frames * rates.order_s,
        memory_bytes=PROCESS_BYTES + (280 * num_frames + (1 << 29) if spread_dim else 120 * num_frames) + min(size, num_frames) * ROW_BYTES,
        kept_bytes=min(size, num_frames) * ROW_BYTES // 4,
        staged_bytes=num_frames * (ROW_BYTES // 2 + SPILLED_BYTES + 2 * spread_dim),
    )


def shard_cost(num_images: int, *, jpeg_bytes: float, rates: Rates) -> Cost:
    """JPEGs are copied from packs into tars and hashed; a tar is whole under another name before it gets its own: none is there twice."""
    written = int(num_images * (jpeg_bytes + TAR_BYTES))
    return Cost(
        items=num_images,
        fixed_s=(fixed_s := STAGE_S + rates.start_s),
        seconds=fixed_s + written / rates.copy_bytes / rates.num_workers + 2 * num_images * rates.order_s,
        memory_bytes=PROCESS_BYTES * (1 + rates.num_workers) + 2 * num_images * ROW_BYTES,
        kept_bytes=written,
    )


def corrected(cost: Cost, *, former: Cost, took_s: float) -> Cost:
    """The same by what a former run of the stage took, of which these formulas give `former`; what is fixed is left as it is."""
    factor = max(took_s - former.fixed_s, 0) / max(former.seconds - former.fixed_s, 1e-9)
    return replace(cost, seconds=cost.fixed_s + (cost.seconds - cost.fixed_s) * factor)


def _fit_distances(n: float, k: float, max_iterations: int = 50) -> float:
    """Distances of a k-means fit: seeds take n k and, of 2 + log k candidates with at most 16 k judges a seed, J (2 + log k) k; Lloyd's
    iterations n k a pass.
    """
    if k <= 1:
        return 2 * n
    return (1 + min(LLOYD_PASSES, max_iterations + 1)) * n * k + min(n, 16 * k) * (2 + log(k)) * k
