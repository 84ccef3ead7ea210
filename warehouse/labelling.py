"""What labelling asks the lake about frames: where they lie and whose they are."""

from __future__ import annotations

import itertools
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
    """pseudonym of its patient, else of the study, else its video's id; patients who share a content are one group"""
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
        """SELECT c.frame_id, c.video_id, c.pts_us, c.width, c.height, c.pack_id, c.pack_path, c.byte_offset, c.byte_size
           FROM candidates c WHERE c.frame_id IN (SELECT unnest($1::VARCHAR[]))""",
        [list(frame_ids)],
    )
    groups = _groups(lake)
    return {row["frame_id"]: StoredFrame(**row, group=groups.get(row["video_id"], row["video_id"])) for row in rows}


def _groups(lake: Lake) -> dict[str, str]:
    """Group of each video of which a patient or a study is known: contents of one group have to stay in one split.

    Two contents are of one group if they have a patient or a study in common, or are joined by others that do. A content that is said to
    be of several patients so joins these. The group is named by its first patient, else by its first study.
    """
    rows = lake.rows("SELECT video_id, patient_ids, study_ids FROM video_info ORDER BY video_id")
    above: dict[tuple[str, str], tuple[str, str]] = {}

    def root(one: tuple[str, str]) -> tuple[str, str]:
        while (found := above.setdefault(one, one)) != one:
            above[one] = one = above[found]
        return one

    members = {
        row["video_id"]: [("patient", one) for one in row["patient_ids"] or ()] + [("study", one) for one in row["study_ids"] or ()]
        for row in rows
    }
    for ids in members.values():
        for first, second in itertools.pairwise(ids):
            lower, upper = sorted((root(first), root(second)))  # patients before studies, so that a patient names the group
            above[upper] = lower
    return {video_id: root(ids[0])[1] for video_id, ids in members.items() if ids}


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
