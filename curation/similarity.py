"""Search the candidates of a lake for copies, look-alikes and similar frames: Parquet in, the `similarities` table's rows out.

Nothing is decided here: each frame gets its scores against the frames that rank before it, and `deduplicate` decides by them. Between
preparing and collecting, clusters and hash tables are searched one by one, each by a worker that maps the staged arrays it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from curation.curate_config import DedupConfig
from curation.dedup import cluster_points, default_dedup_clusters, keep_order, nearest_before
from curation.look_alikes import closest_before, hash_tables, merged, unpacked
from curation.vectors import gather_vectors
from warehouse.identified import write_batches_with_id
from warehouse.records import EmbeddingPart
from warehouse.store import atomic_file

__all__ = ["SIMILARITY_VERSION", "Search", "Segment", "collect_similarities", "prepare_search", "search_clusters", "search_hashes"]

SIMILARITY_VERSION = 1
"""raise when the same settings would give other scores"""

_SEGMENT_ROWS = 1 << 14
"""members of one cluster that are looked up at once: a larger cluster is shared among workers"""
_ITEM_PAIRS = 1 << 26
"""pairs that an item compares, about: seconds of work"""
_PARSED_ROWS = _WRITTEN_ROWS = 1 << 18

Ints = npt.NDArray[np.int64]
Segment = tuple[int, int, int]
"""start of a cluster in the staged members, and the first and last of its members that are looked up"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is to be searched, and what it costs."""

    segments: tuple[tuple[Segment, ...], ...]
    """items of `search_clusters`"""
    tables: tuple[int, ...]
    """items of `search_hashes`"""
    num_frames: int
    num_clusters: int
    largest_cluster: int
    num_pairs: int
    """of vectors that are compared"""


def prepare_search(
    candidates: Path, parts: Sequence[EmbeddingPart], *, lake_root: Path, folder: Path, config: DedupConfig, seed: int
) -> Search:
    """Stage vectors, clusters and hashes in `folder`, ranked by who is to stay.

    Nothing depends on the order of the candidates' rows: samples are drawn and ties are broken in the order of the frame ids.

    Args:
        candidates: Parquet with the columns frame_id, pack_id, sha256, phash (null for a frame that has none) and blur.
        parts: embeddings of every candidate.
        lake_root: what the parts' paths are relative to.
        folder: an empty one to fill.
        config: search settings; thresholds have no influence.
        seed: of the clusters that are searched.
    """
    by_id = _by_id(_column(candidates, "frame_id"))
    folder.mkdir(parents=True, exist_ok=True)
    gather_vectors(candidates, parts, lake_root=lake_root, out=folder / "vectors.npy")
    vectors = _staged(str(folder), "vectors")
    num_clusters = min(config.num_dedup_clusters or default_dedup_clusters(len(vectors)), len(vectors))
    clustered = cluster_points(vectors, num_clusters=num_clusters, seed=seed, order=by_id)
    blur = _column(candidates, "blur").to_numpy().astype(np.float32)
    ranked = by_id[keep_order(config.dedup_keep, distance=clustered.distance[by_id], blur=blur[by_id])]

    content = _texts(_column(candidates, "sha256")).dictionary_encode().indices.to_numpy(zero_copy_only=False)[ranked]
    _, first, inverse = np.unique(content, return_index=True, return_inverse=True)
    originals = ranked[np.sort(first)]  # the highest-ranked of each content
    members = originals[np.argsort(clustered.cluster_id[originals], kind="stable")]
    sizes = np.unique(clustered.cluster_id[members], return_counts=True)[1]

    hashes, is_hashed = _hashes(_column(candidates, "phash"))
    hashed = np.flatnonzero(is_hashed[originals])  # a frame without a hash is no look-alike of any
    unique, first_hashed, hash_of = np.unique(hashes[originals[hashed]], return_index=True, return_inverse=True)
    by_rank = np.argsort(first_hashed)
    rank_of = np.empty_like(by_rank)
    rank_of[by_rank] = np.arange(len(by_rank))
    hash_rank = np.full(len(originals), -1, np.int64)
    hash_rank[hashed] = rank_of[hash_of]
    arrays: dict[str, npt.NDArray[Any]] = {
        "cluster_id": clustered.cluster_id,
        "ranked": ranked,
        "original": ranked[first[inverse]],  # of each by rank
        "originals": originals,
        "members": members,
        "hashes": unique[by_rank],
        "holder": hashed[first_hashed[by_rank]],  # position among the originals of each hash's highest-ranked frame
        "hash_rank": hash_rank,  # of each original; -1 without a hash
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return Search(
        segments=_segments(sizes),
        tables=hash_tables(config.dedup_hash_radius),
        num_frames=len(vectors),
        num_clusters=num_clusters,
        largest_cluster=int(sizes.max(initial=0)),
        num_pairs=int((sizes * (sizes - 1) // 2).sum()),
    )


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
            nearest.append(np.where(position < 0, -1, cluster[position]))
            similarity.append(cosine)
    path = Path(folder) / f"cosine-{item[0][0] + item[0][1]:012d}.npz"
    with atomic_file(path, durable=False) as file:
        np.savez(file, nearest=np.concatenate(nearest), similarity=np.concatenate(similarity))
    return item[0], path.name


def search_hashes(mask: int, *, folder: str, radius: int) -> str:
    """The closest before each hash by one table; returns the file. Memory is about 60 bytes a distinct hash."""
    path = Path(folder) / f"hash-{mask:016x}.npy"
    with atomic_file(path, durable=False) as file:
        np.save(file, closest_before(np.array(_staged(folder, "hashes")), mask, radius=radius))
    return path.name


def collect_similarities(candidates: Path, *, folder: Path, cosines: Sequence[str], tables: Sequence[str], out: Path) -> str:
    """Write the `similarities` table's rows to `out`, ordered by frame id; returns their id.

    Args:
        candidates: as given to `prepare_search`.
        folder: as filled by it and by the searches.
        cosines: files of `search_clusters` in the items' order.
        tables: files of `search_hashes`.
        out: Parquet file to write.
    """
    frame_ids = _texts(_column(candidates, "frame_id"))
    staged = {name: np.load(folder / f"{name}.npy") for name in ("cluster_id", "ranked", "original", "originals", "members")}
    ranked, originals = staged["ranked"], staged["originals"]
    num_frames = len(frame_ids)
    rank, copy_of = np.empty(num_frames, np.int64), np.full(num_frames, -1, np.int64)
    rank[ranked] = np.arange(num_frames)
    is_copy = staged["original"] != ranked
    copy_of[ranked[is_copy]] = staged["original"][is_copy]

    nearest, similarity = np.full(num_frames, -1, np.int64), np.full(num_frames, -1, np.float32)
    start = 0
    for name in cosines:
        with np.load(folder / name) as part:  # closed at once: there are more of them than files may be open
            rows = staged["members"][start : start + len(part["nearest"])]
            nearest[rows], similarity[rows] = part["nearest"], part["similarity"]
            start += len(rows)

    holder, hash_rank = np.load(folder / "holder.npy"), np.load(folder / "hash_rank.npy")
    bits, place = unpacked(merged([np.load(folder / name) for name in tables], len(holder)))
    hashed = np.flatnonzero(hash_rank >= 0)
    ranks = hash_rank[hashed]
    is_holder = holder[ranks] == hashed  # another frame of the same hash has the first before it, at distance 0
    look_alike, hash_distance = np.full(num_frames, -1, np.int64), np.full(num_frames, -1, np.int32)
    if len(hashed):
        before = np.where(is_holder, np.where(place[ranks] < 0, -1, holder[place[ranks]]), holder[ranks])
        look_alike[originals[hashed]] = np.where(before < 0, -1, originals[before])
        hash_distance[originals[hashed]] = np.where(is_holder, bits[ranks], 0)

    def named(rows: Ints) -> pa.Array:
        return frame_ids.take(pa.array(rows, mask=rows < 0)).cast(pa.string())

    def batches() -> Iterator[dict[str, pa.Array]]:
        order = _by_id(frame_ids)
        for start in range(0, num_frames, _WRITTEN_ROWS):
            rows = order[start : start + _WRITTEN_ROWS]
            yield {
                "frame_id": named(rows),
                "cluster_id": pa.array(staged["cluster_id"][rows], pa.int32()),
                "rank": pa.array(rank[rows]),
                "copy_of_frame_id": named(copy_of[rows]),
                "look_alike_frame_id": named(look_alike[rows]),
                "hash_distance": pa.array(hash_distance[rows], mask=look_alike[rows] < 0),
                "nearest_frame_id": named(nearest[rows]),
                "similarity": pa.array(similarity[rows], mask=nearest[rows] < 0),
            }

    return write_batches_with_id(out, "similarities", "similarity_id", batches())


def _column(candidates: Path, name: str) -> pa.ChunkedArray:
    """One column at a time: together they would be a third of the memory that a search takes."""
    return pq.read_table(candidates, columns=[name])[name]


def _texts(column: pa.ChunkedArray) -> pa.LargeStringArray:
    """In one piece; Arrow's plain strings end at 2 GiB together, which is 28 million frame ids."""
    return column.cast(pa.large_string()).combine_chunks()


def _by_id(frame_ids: pa.Array | pa.ChunkedArray) -> Ints:
    order: Ints = pc.sort_indices(frame_ids).to_numpy().astype(np.int64)
    return order


def _staged(folder: str, name: str) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = np.load(Path(folder) / f"{name}.npy", mmap_mode="r")
    return array


def _hashes(digits: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """The hashes, 0 where there is none, and where there is one."""
    hashes = np.empty(len(digits), np.uint64)
    for start in range(0, len(digits), _PARSED_ROWS):  # as Python objects a hash takes 14 times what it takes as a number
        texts = digits.slice(start, _PARSED_ROWS).to_pylist()
        hashes[start : start + len(texts)] = [int(text or "0", 16) for text in texts]
    return hashes, digits.is_valid().to_numpy()


def _segments(sizes: Ints) -> tuple[tuple[Segment, ...], ...]:
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
