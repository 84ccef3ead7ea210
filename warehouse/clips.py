"""What the stages ask the lake about clips: bound parameters only, records out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from warehouse.lake import Lake
from warehouse.queries import clustered_statement
from warehouse.records import Artifact, Dataset, VideoRef
from warehouse.statements import quote
from warehouse.store import content_id

__all__ = [
    "KnownFootage",
    "clip_members",
    "clip_packs",
    "clip_strips",
    "clips_state",
    "cut_before",
    "dataset_kind",
    "export_clip_frames",
    "export_clip_shard_rows",
    "export_clips_clustered",
    "export_clips_unique",
    "has_clips",
    "known_footage",
    "packed_clips",
    "refusals",
    "samples_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFootage:
    """A current video that has kept frames, and what its cutting depends on."""

    video: VideoRef
    ingest_key: str
    run_id: str
    """of its ingest"""
    state: str
    """names the verdicts on its samples: another name as soon as one changes"""


def known_footage(lake: Lake) -> tuple[KnownFootage, ...]:
    """The current videos with kept frames, in a fixed order; stills are no film."""
    rows = lake.rows(
        """WITH verdicts AS (
               SELECT video_id, count(*) AS num, bit_xor(md5_number_lower(concat_ws('|', frame_id, keep, drop_reason)))::VARCHAR AS parity
               FROM current_frames GROUP BY video_id HAVING bool_or(keep)),
           seen AS (
               SELECT uri, version, video_id FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1)
           SELECT v.video_id, v.ingest_key, v.run_id, v.uri, v.num_bytes, s.version, d.num, d.parity
           FROM latest_videos v JOIN verdicts d USING (video_id) LEFT JOIN seen s ON s.uri = v.uri AND s.video_id = v.video_id
           WHERE v.container <> 'stills' ORDER BY v.video_id"""
    )
    return tuple(
        KnownFootage(
            video=VideoRef(video_id=row["video_id"], path=_path(row["uri"]), num_bytes=row["num_bytes"], version=row["version"]),
            ingest_key=row["ingest_key"],
            run_id=row["run_id"],
            state=content_id([row["num"], row["parity"]]),
        )
        for row in rows
    )


def _path(uri: str) -> str:
    return unquote(urlsplit(uri).path) if uri.startswith("file://") else uri


def samples_of(lake: Lake, video_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The current samples of some videos, in time order, by video."""
    rows = lake.rows(
        """SELECT video_id, pts_us, CASE WHEN NOT keep THEN coalesce(drop_reason, 'dropped') END AS drop_reason, text_boxes, width, height
           FROM current_frames WHERE video_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY video_id, pts_us""",
        [list(video_ids)],
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row.pop("video_id")].append(row)
    return found


def cut_before(lake: Lake) -> set[str]:
    """Keys of the cuttings that are recorded, those included whose video could not be read."""
    rows = lake.rows(
        """SELECT v.cut_key FROM clip_videos v JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
           UNION SELECT x.ingest_key FROM rejects x JOIN runs r ON r.run_id = x.run_id AND r.stage = 'clips' AND r.status = 'complete'"""
    )
    return {row["cut_key"] for row in rows}


def refusals(lake: Lake, clip_key: str) -> tuple[dict[str, int], int, float]:
    """Of the current clips by these settings: how many were refused for each reason, how many are kept, and their seconds."""
    rows = lake.rows(
        """SELECT keep, drop_reason, count(*) AS num, sum(seconds) AS seconds FROM current_clips WHERE clip_key = $1
           GROUP BY ALL ORDER BY num DESC, drop_reason""",
        [clip_key],
    )
    refused = {row["drop_reason"]: row["num"] for row in rows if not row["keep"]}
    return refused, sum(row["num"] for row in rows if row["keep"]), float(sum(row["seconds"] for row in rows if row["keep"]))


def clip_packs(lake: Lake, clip_key: str) -> tuple[Artifact, ...]:
    """The tars with the kept clips by these settings, in a fixed order."""
    rows = lake.rows(
        """SELECT DISTINCT a.* FROM current_clips c JOIN artifacts a ON a.artifact_id = c.pack_id AND a.kind = 'clip_pack'
           WHERE c.clip_key = $1 AND c.keep ORDER BY a.artifact_id""",
        [clip_key],
    )
    return tuple(Artifact(**row) for row in rows)


def clips_state(lake: Lake, clip_key: str) -> str:
    """Names the kept clips by these settings: another name as soon as one comes or goes."""
    (row,) = lake.rows(
        """SELECT count(*) AS num, bit_xor(md5_number_lower(clip_id || cut_key))::VARCHAR AS parity
           FROM current_clips WHERE clip_key = $1 AND keep""",
        [clip_key],
    )
    return content_id(row)


def export_clip_frames(
    lake: Lake, *, clip_key: str, encoder_id: str, holdout_id: str | None, frames: Path, clips: Path
) -> tuple[int, int, int]:
    """Write the kept clips, and the candidates in each, ordered by clip id.

    A clip whose video has a held-out frame is left out, and one without an embedded frame.

    Returns:
        How many clips are written, how many are held out, and how many have no embedded frame.
    """
    chosen = """
        chosen AS (
            SELECT DISTINCT ON (c.clip_id) c.* FROM current_clips c WHERE c.clip_key = $1 AND c.keep),
        held AS (
            SELECT DISTINCT f.video_id FROM holdout h JOIN frames f USING (frame_id) WHERE h.holdout_id = $2),
        inside AS (
            SELECT c.clip_id, f.frame_id, f.pack_id, f.sha256
            FROM chosen c JOIN candidates f ON f.video_id = c.video_id AND f.pts_us BETWEEN c.start_us AND c.end_us
            WHERE c.video_id NOT IN (FROM held) AND f.pack_id IN (SELECT pack_id FROM embeddings WHERE encoder_id = $3))"""
    told = [clip_key, holdout_id, encoder_id]
    lake.copy_to_parquet(f"WITH {chosen} SELECT clip_id, frame_id, pack_id FROM inside ORDER BY clip_id, frame_id", frames, told)
    num_clips = lake.copy_to_parquet(
        f"""WITH {chosen},
            content AS (SELECT clip_id, sha256(string_agg(sha256, ',' ORDER BY frame_id)) AS same FROM inside GROUP BY clip_id),
            shared AS (
                SELECT same, row_number() OVER ()::INTEGER AS content
                FROM (SELECT same FROM content GROUP BY same HAVING count(*) > 1))
            SELECT c.clip_id, c.video_id, c.blur, s.content
            FROM chosen c JOIN content t USING (clip_id) LEFT JOIN shared s USING (same) ORDER BY c.clip_id""",
        clips,
        told,
    )
    (row,) = lake.rows(
        f"""WITH {chosen} SELECT count(*) AS num, count(h.video_id) AS num_held
            FROM chosen c LEFT JOIN held h ON h.video_id = c.video_id WHERE $3 IS NOT NULL""",
        told,
    )
    return num_clips, row["num_held"], row["num"] - row["num_held"] - num_clips


def export_clips_unique(lake: Lake, dedup_id: str, clips: Path, path: Path, *, not_in_tree: str | None = None) -> int:
    """As `queries.export_unique`, of clips: `clips` is the Parquet with the frame_id (the clip's) and pack_id of every candidate."""
    return lake.copy_to_parquet(
        f"""SELECT d.frame_id, c.pack_id FROM dedup d JOIN read_parquet({quote(str(clips))}) c USING (frame_id)
           WHERE d.dedup_id = $1 AND NOT d.is_duplicate AND ($2 IS NULL OR NOT EXISTS (
               SELECT 1 FROM clusters k WHERE k.tree_id = $2 AND k.level = 1 AND k.frame_id = d.frame_id))
           ORDER BY d.frame_id""",
        path,
        [dedup_id, not_in_tree],
    )


def clip_members(lake: Lake, selection_id: str, tree_id: str, clip_key: str) -> pa.Table:
    """What sharding needs of each selected clip; a video of one study is of one patient, whoever that is."""
    return lake.query(
        """SELECT c.clip_id, c.video_id, c.pack_path, c.byte_offset, c.byte_size, c.start_us, c.end_us, c.fps, c.num_frames, c.width,
                  c.height, coalesce(i.patient_id, i.study_ids[1], '') AS patient, k.cluster_path
           FROM selections s JOIN (SELECT DISTINCT ON (clip_id) * FROM current_clips WHERE clip_key = $3 AND keep) c
               ON c.clip_id = s.frame_id
           JOIN (SELECT frame_id, list(cluster_id ORDER BY level) AS cluster_path FROM clusters WHERE tree_id = $2 GROUP BY frame_id) k
               ON k.frame_id = s.frame_id
           LEFT JOIN video_info i ON i.video_id = c.video_id WHERE s.selection_id = $1 ORDER BY s.rank""",
        [selection_id, tree_id, clip_key],
    )


def clip_strips(lake: Lake, dataset_id: str, limit: int) -> list[dict[str, Any]]:
    """Some clips of a dataset and where their MP4s lie, the same ones at every call, by video and time."""
    return lake.rows(
        f"""WITH {packed_clips(dataset_id)}
            SELECT c.clip_id, c.video_id, c.start_us, c.end_us, c.num_frames, c.pack_path, c.byte_offset, c.byte_size
            FROM (SELECT DISTINCT clip_id FROM shard_clips WHERE dataset_id = $1 ORDER BY md5(clip_id) LIMIT $2) s
            JOIN packed c USING (clip_id) ORDER BY c.video_id, c.start_us""",
        [dataset_id, limit],
    )


def packed_clips(dataset_id: str) -> str:
    """SQL for the clips of a dataset by the cutting whose MP4s it holds: another may have refused a clip, or have encoded it otherwise."""
    told = quote(dataset_id)
    return f"""
        packs_used AS (SELECT DISTINCT artifact_id FROM ancestry({told}) WHERE kind = 'clip_pack'),
        written AS (
            SELECT min(r.started_at) AS started_at FROM datasets d JOIN runs r ON r.run_id = d.run_id AND r.status = 'complete'
            WHERE d.dataset_id = {told}),
        packed AS (
            SELECT c.*, v.path AS pack_path FROM clips c JOIN clip_videos v ON v.video_id = c.video_id AND v.cut_key = c.cut_key
            JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete' LEFT JOIN packs_used p ON p.artifact_id = v.pack_id
            WHERE c.keep AND c.clip_id IN (SELECT clip_id FROM shard_clips WHERE dataset_id = {told})
            QUALIFY row_number() OVER (
                PARTITION BY c.clip_id
                ORDER BY p.artifact_id IS NULL, r.ended_at > (SELECT started_at FROM written), r.ended_at DESC, c.cut_key) = 1)"""


def dataset_kind(lake: Lake, name: str) -> str:
    """What a dataset's tars hold: images or clips."""
    rows = lake.rows("SELECT kind FROM datasets WHERE name = $1 LIMIT 1", [name])
    return str(rows[0]["kind"] or "images") if rows else "images"


def has_clips(lake: Lake, dataset_id: str) -> bool:
    """Whether a dataset is of clips."""
    return bool(lake.rows("SELECT 1 FROM datasets WHERE dataset_id = $1 AND kind = 'clips' LIMIT 1", [dataset_id]))


def export_clip_shard_rows(lake: Lake, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """Write what the lake says of each shard's clips as Parquet: place, times, video and the SHA-256 of the MP4.

    Returns:
        The folder of each shard's rows, by the shard's name.
    """
    parts = lake.copy_to_partitions(
        f"""WITH {packed_clips(dataset.dataset_id)}
            SELECT DISTINCT s.shard, s.position, s.clip_id, c.video_id, c.start_us, s.byte_offset, s.byte_size, c.sha256
            FROM shard_clips s JOIN packed c USING (clip_id)
            WHERE s.dataset_id = {quote(dataset.dataset_id)} AND starts_with(s.shard, {quote(dataset.name + "-")})
                  AND length(s.shard) = {len(dataset.name + "-000000.tar")}""",
        folder,
        "shard",
    )
    return {part.name.removeprefix("shard="): part for part in parts}


def export_clips_clustered(lake: Lake, tree_id: str, dedup_id: str, clips: Path, path: Path) -> int:
    """As `queries.export_clustered`, of clips; `clips` as for `export_clips_unique`."""
    return lake.copy_to_parquet(clustered_statement(lake, tree_id, f"read_parquet({quote(str(clips))})"), path, [tree_id, dedup_id])
