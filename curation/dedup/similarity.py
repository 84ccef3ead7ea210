"""Search the candidates of a lake for copies, look-alikes and similar frames: what is searched is staged as numbers, row by row.

Nothing is decided here: each frame gets its scores against the frames that rank before it, and `deduplicate` decides by them. Between
preparing and `similarity_rows`, clusters and hash tables are searched one by one, each by a worker that maps the staged arrays it needs.
A row is a frame's place in the order of the frame ids, 4 bytes; no process holds the ids themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from curation.clustering import Block, Map, blocks_of
from curation.dedup.config import DedupConfig
from curation.dedup.dedup_clusters import DedupClusters, assign_points, default_dedup_clusters, fit_clusters, sample_rows, unit
from curation.dedup.near_hash import HashShare, closest_in_share, hash_shares
from curation.dedup.semantic import keep_order, nearest_before
from curation.embedding import VectorFile, gather_vectors, open_vectors
from warehouse.records import EmbeddingPart
from warehouse.store import atomic_file

__all__ = ["SIMILARITY_VERSION", "Search", "Segment", "assign_rows", "prepare_search", "search_clusters", "search_hashes"]

SIMILARITY_VERSION = 2
"""raise when the same settings would give other scores"""

_SEGMENT_ROWS = 1 << 14
"""members of one cluster that are looked up at once: a larger cluster is shared among workers"""
_ITEM_PAIRS = 1 << 26
"""pairs that an item compares, about: seconds of work"""
_SCALED_ROWS = 1 << 14
"""vectors that are brought to unit length at once: 12 bytes a value"""
_READ_ROWS = 1 << 18
_MOST_FRAMES = 2**31 - 1

Rows = npt.NDArray[np.int32]
Segment = tuple[int, int, int]
"""start of a cluster in the staged members, and the first and last of its members that are looked up"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is to be searched, and what it costs."""

    segments: tuple[tuple[Segment, ...], ...]
    """items of `search_clusters`"""
    hash_shares: tuple[HashShare, ...]
    """items of `search_hashes`"""
    num_frames: int
    num_clusters: int
    largest_cluster: int
    num_pairs: int
    """of vectors that are compared"""


def prepare_search(
    candidates: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, folder: Path, config: DedupConfig, seed: int, run_map: Map
) -> Search:
    """Stage vectors, clusters and hashes in `folder`, ranked by who is to stay.

    Memory is about 80 bytes a frame, or of the vectors that clusters are fitted to, 2 GiB unless there are more clusters than make that.

    Args:
        candidates: Parquet with the columns frame_id, pack_id, content (a number that the copies of one JPEG share; null for a frame that
            has none), phash (as a number; null for a frame that has none) and blur, in the order of the frame ids.
        parts: embeddings of every candidate.
        lake_root: what the parts' paths are relative to.
        folder: an empty one to fill.
        config: search settings; thresholds have no influence.
        seed: of the clusters that are searched.
        run_map: where blocks of frames are assigned to clusters.

    Raises:
        ValueError: there are over two thousand million candidates, more than a row's number can say.
    """
    folder.mkdir(parents=True, exist_ok=True)
    num_frames = pq.read_metadata(candidates).num_rows
    if num_frames > _MOST_FRAMES:
        raise ValueError(f"{num_frames} candidates are more than are compared at once, {_MOST_FRAMES}; ingest into several lakes")
    vectors = gather_vectors(candidates, parts, lake_root=lake_root, out=folder / "vectors.npy")
    num_clusters = min(config.num_dedup_clusters or default_dedup_clusters(num_frames), num_frames)
    cluster_id, distance = _clustered(vectors, num_clusters, seed=seed, folder=folder, run_map=run_map)
    blur = None
    if config.dedup_keep == "sharpest":
        blur, is_known = _column(candidates, "blur", np.float32)
        blur[~is_known] = np.nan
    ranked = keep_order(config.dedup_keep, distance=distance, blur=blur).astype(np.int32)
    del distance, blur
    np.save(folder / "ranked.npy", ranked)
    originals = _stage_copies(candidates, ranked, folder)
    del ranked
    sizes = _stage_members(cluster_id, originals, num_clusters, folder)
    del cluster_id
    num_hashes = _stage_hashes(candidates, originals, folder)
    return Search(
        segments=_segments(sizes),
        hash_shares=hash_shares(config.dedup_hash_radius, num_hashes),
        num_frames=num_frames,
        num_clusters=num_clusters,
        largest_cluster=int(sizes.max(initial=0)),
        num_pairs=int((sizes * (sizes - 1) // 2).sum()),
    )


def assign_rows(block: Block, *, folder: str) -> str:
    """Assign a block of frames to the clusters; returns the file with cluster and distance of each. On one thread, for the same bits
    whatever runs it; memory is the centroids and, of 384 dimensions, 75 MB.

    Raises:
        ValueError: an embedding is zero or not finite.
    """
    vectors = open_vectors(Path(folder, "vectors.npy"))
    with np.load(Path(folder, "clusters.npz")) as stored:
        clusters = DedupClusters(stored["coarse"], stored["fine"], stored["first"])
    with threadpool_limits(1):
        pieces = [
            assign_points(unit(vectors.stored(start, min(start + _SCALED_ROWS, block.stop))), clusters)
            for start in range(block.start, block.stop, _SCALED_ROWS)
        ]
    path = Path(folder, f"assigned-{block.number:06d}.npz")
    cluster_id, distance = zip(*pieces, strict=True)
    with atomic_file(path, durable=False) as file:
        np.savez(file, cluster_id=np.concatenate(cluster_id), distance=np.concatenate(distance))
    return path.name


def search_clusters(item: tuple[Segment, ...], *, folder: str) -> tuple[Segment, str]:
    """The nearest before each member of some segments; returns the first segment and the file with rows and cosines.

    On one thread, for the same bits whatever runs it. Memory is a few blocks of vectors.
    """
    vectors, members = _staged(folder, "vectors"), _staged(folder, "members")
    nearest, similarity = [], []
    with threadpool_limits(1):
        for start, first, last in item:
            cluster = np.array(members[start : start + last])
            position, cosine = nearest_before(vectors, cluster, first=first, last=last)
            nearest.append(np.where(position < 0, np.int32(-1), cluster[position]))
            similarity.append(cosine)
    path = Path(folder) / f"cosine-{item[0][0] + item[0][1]:012d}.npz"
    with atomic_file(path, durable=False) as file:
        np.savez(file, nearest=np.concatenate(nearest), similarity=np.concatenate(similarity))
    return item[0], path.name


def search_hashes(share: HashShare, *, folder: str, radius: int) -> str:
    """The closest before each hash by one share of a table; returns the file. Memory is that of `closest_in_share`."""
    rows, best = closest_in_share(_staged(folder, "hashes"), share, radius=radius)
    path = Path(folder) / f"hash-{share.mask:016x}-{share.number:06d}.npz"
    with atomic_file(path, durable=False) as file:
        np.savez(file, rows=rows, best=best)
    return path.name


def _clustered(vectors: VectorFile, num_clusters: int, *, seed: int, folder: Path, run_map: Map) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Fit clusters here and assign all frames on the workers; cluster and distance of each, the clusters on disk too."""
    rng = np.random.default_rng(seed)
    points = vectors.take(sample_rows(vectors.num_rows, vectors.dim, num_clusters, rng=rng))
    for start in range(0, len(points), _SCALED_ROWS):
        points[start : start + _SCALED_ROWS] = unit(points[start : start + _SCALED_ROWS])
    clusters = fit_clusters(points, num_clusters, rng=rng)
    del points
    np.savez(folder / "clusters.npz", coarse=clusters.coarse, fine=clusters.fine, first=clusters.first)
    cluster_id, distance = np.empty(vectors.num_rows, np.int32), np.empty(vectors.num_rows, np.float32)
    blocks = blocks_of(vectors.num_rows, num_clusters)
    for block, name in zip(blocks, run_map(assign_rows, blocks, folder=str(folder)), strict=True):
        with np.load(folder / name) as assigned:
            cluster_id[block.start : block.stop], distance[block.start : block.stop] = assigned["cluster_id"], assigned["distance"]
        (folder / name).unlink()
    np.save(folder / "cluster_id.npy", cluster_id)
    return cluster_id, distance


def _stage_copies(candidates: Path, ranked: Rows, folder: Path) -> Rows:
    """Stage the copies, each with the highest-ranked of its content; returns all other frames by rank."""
    content, is_known = _column(candidates, "content", np.int32)
    sharing = ranked[is_known[ranked]]
    grouped = sharing[np.argsort(content[sharing], kind="stable")]  # content by content, in each by rank
    is_first = _differs(content[grouped])
    original = grouped[is_first][np.cumsum(is_first) - 1]
    np.save(folder / "copies.npy", np.stack([grouped, original])[:, ~is_first])
    is_original = np.ones(len(ranked), np.bool_)
    is_original[grouped[~is_first]] = False
    originals: Rows = ranked[is_original[ranked]]
    np.save(folder / "originals.npy", originals)
    return originals


def _stage_members(cluster_id: Rows, originals: Rows, num_clusters: int, folder: Path) -> npt.NDArray[np.int64]:
    """Stage the frames that are searched cluster by cluster, in each by rank; returns the sizes of the clusters that have any."""
    own = cluster_id[originals]
    np.save(folder / "members.npy", originals[np.argsort(own, kind="stable")])
    sizes = np.bincount(own, minlength=num_clusters)
    return sizes[sizes > 0]


def _stage_hashes(candidates: Path, originals: Rows, folder: Path) -> int:
    """Stage each hash once, by rank of its first frame, that frame's place among the originals, and the rank of each original's hash, -1
    where it has none: it is no look-alike of any. Returns how many hashes there are.
    """
    hashes, is_known = _column(candidates, "phash", np.uint64)
    hashed = np.flatnonzero(is_known[originals]).astype(np.int32)
    own = hashes[originals[hashed]]
    del hashes, is_known
    order = np.argsort(own, kind="stable").astype(np.int32)  # hash by hash, in each by rank
    is_first = _differs(own[order])
    first = order[is_first]
    rank_of = np.empty(len(first), np.int32)
    rank_of[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    hash_rank = np.full(len(originals), -1, np.int32)
    hash_rank[hashed[order]] = rank_of[np.cumsum(is_first, dtype=np.int32) - 1]
    first.sort()
    for name, array in {"hashes": own[first], "holder": hashed[first], "hash_rank": hash_rank}.items():
        np.save(folder / f"{name}.npy", array)
    return len(first)


def _differs(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """(n,) where a value is not the one before."""
    return np.concatenate([np.ones(min(1, len(values)), np.bool_), values[1:] != values[:-1]])


def _column(candidates: Path, name: str, dtype: npt.DTypeLike) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """The numbers of a column, 0 for null, and where it is not null; alone, for together columns would be half of what a search takes."""
    file = pq.ParquetFile(candidates)
    values, is_known = np.empty(file.metadata.num_rows, dtype), np.empty(file.metadata.num_rows, np.bool_)
    start = 0
    for batch in file.iter_batches(batch_size=_READ_ROWS, columns=[name]):
        stop = start + len(batch)
        values[start:stop], is_known[start:stop] = pc.fill_null(batch[name], 0).to_numpy(), batch[name].is_valid().to_numpy(False)
        start = stop
    return values, is_known


def _staged(folder: str, name: str) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(Path(folder) / f"{name}.npy", mmap_mode="r")
    return array


def _segments(sizes: npt.NDArray[np.int64]) -> tuple[tuple[Segment, ...], ...]:
    """Clusters of these sizes, one after the other, as items of about equal work; an oversized one is several."""
    items: list[tuple[Segment, ...]] = []
    item: list[Segment] = []
    pairs, start = 0, 0
    for size in sizes.tolist():
        for first in range(0, size, _SEGMENT_ROWS):
            last = min(first + _SEGMENT_ROWS, size)
            item.append((start, first, last))
            pairs += (last - first) * last
            if pairs >= _ITEM_PAIRS:
                items.append(tuple(item))
                item, pairs = [], 0
        start += size
    return (*items, tuple(item)) if item else tuple(items)
