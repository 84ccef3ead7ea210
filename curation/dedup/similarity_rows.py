"""What a search found as the `similarities` table's rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.dedup.frame_ids import read_frame_ids
from curation.dedup.near_hash import keep_best, nothing_found, unpacked
from warehouse.identified import write_batches_with_id

__all__ = ["collect_similarities"]

_WRITTEN_ROWS = 1 << 18

Rows = npt.NDArray[np.int32]


def collect_similarities(candidates: Path, *, folder: Path, cosines: Sequence[str], tables: Sequence[str], out: Path) -> str:
    """Write the `similarities` table's rows to `out`, ordered by frame id; returns their id.

    Memory is about 50 bytes a frame, and a million rows.

    Args:
        candidates: as given to `prepare_search`.
        folder: as filled by it and by the searches.
        cosines: files of `search_clusters` in the items' order.
        tables: files of `search_hashes`.
        out: Parquet file to write.
    """
    look_alike, hash_distance = _look_alikes(folder, tables)
    nearest, similarity = _nearest(folder, cosines, len(look_alike))
    cluster_id, ranked = np.load(folder / "cluster_id.npy", mmap_mode="r"), np.load(folder / "ranked.npy")
    rank = np.empty_like(ranked)
    rank[ranked] = np.arange(len(ranked), dtype=np.int32)
    del ranked
    copies, originals = np.load(folder / "copies.npy")
    copy_of = np.full(len(rank), -1, np.int32)
    copy_of[copies] = originals
    frame_ids = read_frame_ids(candidates)

    def batches() -> Iterator[dict[str, pa.Array]]:
        for start in range(0, len(rank), _WRITTEN_ROWS):
            rows = slice(start, min(start + _WRITTEN_ROWS, len(rank)))
            yield {
                "frame_id": frame_ids.at(np.arange(rows.start, rows.stop)),
                "cluster_id": pa.array(np.array(cluster_id[rows])),
                "rank": pa.array(rank[rows].astype(np.int64)),
                "copy_of_frame_id": frame_ids.at(copy_of[rows]),
                "look_alike_frame_id": frame_ids.at(look_alike[rows]),
                "hash_distance": pa.array(hash_distance[rows].astype(np.int32), mask=look_alike[rows] < 0),
                "nearest_frame_id": frame_ids.at(nearest[rows]),
                "similarity": pa.array(similarity[rows], mask=nearest[rows] < 0),
            }

    return write_batches_with_id(out, "similarities", "similarity_id", batches())


def _nearest(folder: Path, cosines: Sequence[str], num_frames: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Row of the most similar frame before each, -1 where there is none, and their cosine."""
    nearest, similarity = np.full(num_frames, -1, np.int32), np.full(num_frames, -1, np.float32)
    members = np.load(folder / "members.npy", mmap_mode="r")
    start = 0
    for name in cosines:
        with np.load(folder / name) as part:  # closed at once: there are more of them than files may be open
            rows = members[start : start + len(part["nearest"])]
            nearest[rows], similarity[rows] = part["nearest"], part["similarity"]
            start += len(rows)
    return nearest, similarity


def _look_alikes(folder: Path, tables: Sequence[str]) -> tuple[Rows, npt.NDArray[np.int8]]:
    """Row of the closest frame before each by hash, -1 where there is none, and the bits between."""
    originals, holder, hash_rank = (np.load(folder / f"{name}.npy") for name in ("originals", "holder", "hash_rank"))
    best = nothing_found(len(holder))
    for name in tables:
        with np.load(folder / name) as part:
            keep_best(best, part["rows"], part["best"])
    bits, place = unpacked(best)
    del best
    num_frames = len(np.load(folder / "ranked.npy", mmap_mode="r"))
    look_alike, distance = np.full(num_frames, -1, np.int32), np.full(num_frames, -1, np.int8)
    for start in range(0, len(originals), _WRITTEN_ROWS):
        hashed = start + np.flatnonzero(hash_rank[start : start + _WRITTEN_ROWS] >= 0)
        ranks = hash_rank[hashed]
        is_holder = holder[ranks] == hashed  # another frame of the same hash has the first before it, at distance 0
        before = np.where(is_holder, np.where(place[ranks] < 0, -1, holder[place[ranks]]), holder[ranks])
        look_alike[originals[hashed]] = np.where(before < 0, -1, originals[before])
        distance[originals[hashed]] = np.where(is_holder, bits[ranks], 0)
    return look_alike, distance
