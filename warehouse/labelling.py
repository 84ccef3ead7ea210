"""What labelling asks the lake about frames: where they lie and whose they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.lake import Lake

__all__ = ["StoredFrame", "candidate_frames", "export_frames", "unknown_frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrame:
    """A candidate, and where its JPEG lies."""

    frame_id: str
    video_id: str
    group: str
    """pseudonym of its patient, else of the study, else its video's id"""
    pts_us: int
    width: int
    """of the stored picture in pixels"""
    height: int
    pack_id: str
    pack_path: str
    """relative to the lake's root"""
    byte_offset: int
    byte_size: int


def candidate_frames(lake: Lake, frame_ids: Sequence[str]) -> dict[str, StoredFrame]:
    """Those of the frames that are candidates by now, by id: a frame that was dropped or removed is none."""
    rows = lake.rows(
        """SELECT c.frame_id, c.video_id, coalesce(i.patient_ids[1], i.study_ids[1], c.video_id) AS group, c.pts_us,
                  c.width, c.height, c.pack_id, c.pack_path, c.byte_offset, c.byte_size
           FROM candidates c LEFT JOIN video_info i ON i.video_id = c.video_id
           WHERE c.frame_id IN (SELECT unnest($1::VARCHAR[]))""",
        [list(frame_ids)],
    )
    return {row["frame_id"]: StoredFrame(**row) for row in rows}


def unknown_frames(lake: Lake, frame_ids: Sequence[str]) -> list[str]:
    """Those of the ids that no frame of the lake ever had."""
    rows = lake.rows(
        """SELECT id FROM (SELECT unnest($1::VARCHAR[]) AS id) WHERE id NOT IN (SELECT frame_id FROM frames) ORDER BY id""",
        [list(frame_ids)],
    )
    return [str(row["id"]) for row in rows]


def export_frames(lake: Lake, frame_ids: Sequence[str], path: Path) -> int:
    """Write frame_id and pack_id of candidates, by frame id; returns how many of the ids are candidates."""
    return lake.copy_to_parquet(
        """SELECT frame_id, pack_id FROM candidates WHERE frame_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY frame_id""",
        path,
        [list(frame_ids)],
    )
