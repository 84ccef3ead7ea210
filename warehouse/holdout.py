"""What a hold-out asks the lake: what is known of its videos, and the candidates to compare."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.lake import Lake
from warehouse.lineage import run_outputs
from warehouse.queries import candidates_state, run_json
from warehouse.records import Artifact
from warehouse.store import content_id

__all__ = ["LatestHoldout", "export_frames_of", "export_pool", "known_videos", "known_videos_state", "latest_holdout", "num_not_compared"]

_KNOWN = """SELECT v.video_id, coalesce(p.uris, [v.uri]) AS uris, coalesce(i.patient_ids, []) AS patient_ids,
                   v.container = 'stills' AS is_stills
            FROM latest_videos v LEFT JOIN places p ON p.video_id = v.video_id LEFT JOIN video_info i ON i.video_id = v.video_id"""


def known_videos(lake: Lake) -> list[dict[str, Any]]:
    """Id, places and patients of every current video, and whether it is a folder of pictures; ordered by id."""
    return lake.rows(f"FROM ({_KNOWN}) ORDER BY video_id")


def known_videos_state(lake: Lake) -> str:
    """Names what `known_videos` says: another name as soon as a video is renamed or a manifest says whose it is."""
    (row,) = lake.rows(
        f"""SELECT count(*) AS num, bit_xor(md5_number_lower(concat_ws('\n', video_id, patient_ids, is_stills, list_sort(uris))))::VARCHAR
                   AS parity FROM ({_KNOWN})"""
    )
    return content_id(row)


def export_pool(lake: Lake, encoder_id: str, folder: Path, *, frames_per_part: int) -> tuple[Path, ...]:
    """Write the embedded candidates, with hash, picture's place and embedding part, as folders of Parquet, whole packs in each.

    Args:
        lake: where the candidates are.
        encoder_id: whose embeddings.
        folder: what to fill.
        frames_per_part: about how many a folder should hold.
    """
    (row,) = lake.rows("SELECT count(*) AS num FROM candidates")
    num_parts = max(1, -(-int(row["num"]) // frames_per_part))
    lake.query("SET VARIABLE holdout_encoder = $1", [encoder_id])
    return lake.copy_to_partitions(
        f"""SELECT md5_number_lower(c.pack_id) % {num_parts} AS part, c.frame_id, c.video_id, f.phash, c.pack_path, c.byte_offset,
                   c.byte_size, e.path AS embedding_path
            FROM candidates c JOIN embeddings e ON e.pack_id = c.pack_id AND e.encoder_id = getvariable('holdout_encoder')
            JOIN frames f ON f.frame_id = c.frame_id""",
        folder,
        "part",
    )


def export_frames_of(lake: Lake, encoder_id: str, video_ids: Sequence[str], path: Path) -> int:
    """Write frame_id and video_id of the embedded candidates of some videos; returns how many."""
    return lake.copy_to_parquet(
        """SELECT c.frame_id, c.video_id FROM candidates c JOIN embeddings e ON e.pack_id = c.pack_id AND e.encoder_id = $1
           WHERE c.video_id IN (SELECT unnest($2::VARCHAR[])) ORDER BY c.frame_id""",
        path,
        [encoder_id, list(video_ids)],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestHoldout:
    """The last search of a lake for what is held out."""

    artifact: Artifact
    name: str
    """of what was held out"""
    encoder_id: str
    candidates: str
    """names the candidates that were compared"""
    videos: str
    """names what was known of the videos; see `known_videos_state`"""
    started_at: datetime.datetime


def latest_holdout(lake: Lake) -> LatestHoldout | None:
    """The last complete search; None if nothing was ever held out."""
    rows = lake.rows(
        """SELECT r.run_id, r.started_at, any_value(a.uri) AS name
           FROM runs r LEFT JOIN edges e ON e.run_id = r.run_id AND e.direction = 'input'
           LEFT JOIN artifacts a ON a.artifact_id = e.artifact_id AND a.kind = 'holdout_list'
           WHERE r.stage = 'holdout' AND r.status = 'complete'
           GROUP BY r.run_id, r.started_at, r.ended_at ORDER BY r.ended_at DESC LIMIT 1"""
    )
    if not rows:
        return None
    config = run_json(lake, rows[0]["run_id"], "config")
    (artifact,) = run_outputs(lake, rows[0]["run_id"])
    return LatestHoldout(
        artifact=artifact,
        name=rows[0]["name"] or "a list",
        started_at=rows[0]["started_at"],
        **{name: config.get(name, "") for name in ("encoder_id", "candidates", "videos")},
    )


def num_not_compared(lake: Lake, latest: LatestHoldout, encoder_id: str) -> int:
    """Candidates embedded by an encoder that may not have been there when what is held out was searched for."""
    if candidates_state(lake, encoder_id) == latest.candidates and encoder_id == latest.encoder_id:
        return 0
    (row,) = lake.rows(
        """SELECT count(*) AS num FROM candidates c WHERE c.pack_id IN (SELECT pack_id FROM embeddings WHERE encoder_id = $1)
           AND (EXISTS (SELECT 1 FROM runs WHERE stage = 'requalify' AND status = 'complete' AND ended_at > $3)
                OR c.pack_id NOT IN (
                    SELECT e.pack_id FROM embeddings e JOIN edges o ON o.artifact_id = e.part_id AND o.direction = 'output'
                    JOIN runs r ON r.run_id = o.run_id AND r.status = 'complete'
                    WHERE e.encoder_id = $2 AND r.ended_at <= $3))""",
        [encoder_id, latest.encoder_id, latest.started_at],
    )
    return int(row["num"])
