"""What is asked of the stored scores between frames: how they are distributed, what thresholds would do, pairs at the border."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.lake import Lake

__all__ = [
    "FramePair",
    "border_pairs",
    "counts_by_distance",
    "counts_by_threshold",
    "dedup_funnel",
    "export_similarities",
    "similarity_histogram",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePair:
    """A frame, the one it would be a duplicate of, and where their JPEGs lie."""

    frame_id: str
    other_frame_id: str
    similarity: float | None
    hash_distance: int | None
    same_video: bool
    apart_s: float | None
    """between the two, of use where they are of one video; None for images of a folder, which have no time"""
    pack_path: str
    byte_offset: int
    byte_size: int
    other_pack_path: str
    other_byte_offset: int
    other_byte_size: int


def export_similarities(lake: Lake, similarity_id: str, path: Path) -> int:
    """Write the scores, ordered by frame id; returns how many frames there are."""
    return lake.copy_to_parquet("FROM similarities WHERE similarity_id = $1 ORDER BY frame_id", path, [similarity_id])


def similarity_histogram(lake: Lake, similarity_id: str, edges: Sequence[float]) -> tuple[int, ...]:
    """Frames whose similarity lies from each edge to the next; below the first edge and above the last they count to the outer bins."""
    rows = lake.rows(
        """SELECT bin, count(*) AS num FROM (
               SELECT greatest(0, least(len($2) - 2, len(list_filter($2::FLOAT[], e -> e <= similarity)) - 1)) AS bin
               FROM similarities WHERE similarity_id = $1 AND similarity IS NOT NULL) GROUP BY bin""",
        [similarity_id, list(edges)],
    )
    found = {row["bin"]: row["num"] for row in rows}
    return tuple(found.get(number, 0) for number in range(len(edges) - 1))


def counts_by_threshold(
    lake: Lake, similarity_id: str, thresholds: Sequence[float], *, hash_distance: int | None
) -> tuple[tuple[float, int, int], ...]:
    """For each threshold of the cosine: how many frames go for similarity alone, and how many in all, with copies and look-alikes."""
    rows = lake.rows(
        """SELECT t.threshold, count(*) FILTER (NOT s.gone AND s.similarity >= t.threshold) AS num_semantic,
                  count(*) FILTER (s.gone OR s.similarity >= t.threshold) AS num_gone
           FROM (SELECT unnest($2::FLOAT[]) AS threshold) t, (
               SELECT similarity, copy_of_frame_id IS NOT NULL OR coalesce(hash_distance <= $3, false) AS gone
               FROM similarities WHERE similarity_id = $1) s
           GROUP BY t.threshold ORDER BY t.threshold""",
        [similarity_id, sorted(thresholds), -1 if hash_distance is None else hash_distance],
    )
    return tuple((shown, row["num_semantic"], row["num_gone"]) for shown, row in zip(sorted(thresholds), rows, strict=True))


def counts_by_distance(lake: Lake, similarity_id: str) -> tuple[int, dict[int, int]]:
    """Exact copies, and frames whose closest look-alike is at each distance in bits."""
    copies = lake.rows(
        "SELECT count(*) AS num FROM similarities WHERE similarity_id = $1 AND copy_of_frame_id IS NOT NULL", [similarity_id]
    )
    rows = lake.rows(
        """SELECT hash_distance, count(*) AS num FROM similarities WHERE similarity_id = $1 AND hash_distance IS NOT NULL
           GROUP BY ALL ORDER BY hash_distance""",
        [similarity_id],
    )
    return copies[0]["num"], {row["hash_distance"]: row["num"] for row in rows}


def border_pairs(
    lake: Lake, similarity_id: str, *, low: float | None = None, high: float | None = None, bits: int | None = None, limit: int
) -> tuple[FramePair, ...]:
    """Some pairs of similar frames: just above `low`, just below `high`, or exactly `bits` apart by hash; the same ones at every call."""
    kind = "look_alike_frame_id" if bits is not None else "nearest_frame_id"
    wanted = "s.hash_distance = $2" if bits is not None else "s.similarity >= $2::FLOAT" if low is not None else "s.similarity < $2::FLOAT"
    order = "md5(s.frame_id)" if bits is not None else "s.similarity, s.frame_id" if low is not None else "s.similarity DESC, s.frame_id"
    border = bits if bits is not None else low if low is not None else high
    rows = lake.rows(
        f"""SELECT s.frame_id, s.{kind} AS other_frame_id, {"NULL" if bits is not None else "s.similarity"} AS similarity,
                   {"s.hash_distance" if bits is not None else "NULL"} AS hash_distance, a.video_id = b.video_id AS same_video,
                   CASE WHEN v.container IS DISTINCT FROM 'stills' THEN abs(a.pts_us - b.pts_us) / 1e6 END AS apart_s,
                   a.pack_path, a.byte_offset, a.byte_size, b.pack_path AS other_pack_path,
                   b.byte_offset AS other_byte_offset, b.byte_size AS other_byte_size
            FROM similarities s JOIN candidates a ON a.frame_id = s.frame_id JOIN candidates b ON b.frame_id = s.{kind}
            JOIN latest_videos v ON v.video_id = a.video_id
            WHERE s.similarity_id = $1 AND {wanted}
            ORDER BY {order} LIMIT $3""",
        [similarity_id, border, limit],
    )
    return tuple(FramePair(**row) for row in rows)


def dedup_funnel(lake: Lake, dedup_id: str) -> tuple[tuple[str, int], ...]:
    """Candidates, how many of them each kind of duplicate took, and what is left."""
    (row,) = lake.rows(
        """SELECT count(*) AS "candidates", count(*) FILTER (kind = 'exact') AS "exact copies",
                  count(*) FILTER (kind = 'perceptual') AS "look-alikes by hash", 
                  count(*) FILTER (kind = 'semantic') AS "similar by embedding",
                  count(*) FILTER (NOT is_duplicate) AS "unique"
           FROM dedup WHERE dedup_id = $1""",
        [dedup_id],
    )
    return tuple(row.items())
