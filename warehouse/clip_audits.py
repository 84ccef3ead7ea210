"""Audits of datasets of clips: which clips a person is shown, and which sampled frames go with a clip in which somebody was found.

In `audit_frames` a clip stands for itself by one of its sampled frames, that nearest to its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.audits import Stratum
from warehouse.clips import packed_clips
from warehouse.lake import Lake

__all__ = ["AuditedClip", "draw_clips", "frames_beside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedClip:
    """A clip of the sample, and where its MP4 lies."""

    clip_id: str
    frame_id: str
    """of the sampled frame nearest to its middle"""
    stratum: Stratum
    pack_path: str
    """relative to the lake's root"""
    byte_offset: int
    byte_size: int
    num_frames: int


def draw_clips(lake: Lake, *, size: int, seed: int, dataset_id: str) -> tuple[AuditedClip, ...]:
    """Draw clips for a person to look at: one half at random with videos alike, the other half those with most boxes over text of the rest.

    Args:
        lake: where the dataset is.
        size: clips wanted; all there are where there are fewer.
        seed: the same one draws the same clips from the same set.
        dataset_id: of the dataset.

    Returns:
        The clips in the order in which they are shown, which says nothing of why they were drawn.
    """
    rows = lake.rows(
        f"""
        WITH {packed_clips(dataset_id)},
        keyed AS MATERIALIZED (SELECT *, md5($seed || '/' || clip_id) AS key FROM packed),
        turns AS (SELECT clip_id, video_id, row_number() OVER (PARTITION BY video_id ORDER BY key) AS turn FROM keyed),
        random AS (SELECT clip_id FROM turns ORDER BY turn, md5($seed || '/' || video_id) LIMIT $num_random),
        doubtful AS (
            SELECT clip_id FROM keyed ANTI JOIN random USING (clip_id) ORDER BY text_share DESC NULLS LAST, key LIMIT $num_doubtful),
        drawn AS (SELECT clip_id, 'random' AS stratum FROM random UNION ALL SELECT clip_id, 'doubtful' FROM doubtful),
        middle AS (
            SELECT clip_id, arg_min(f.frame_id, (abs(2 * f.pts_us - k.start_us - k.end_us), f.frame_id)) AS frame_id
            FROM clip_frames f JOIN keyed k USING (clip_id) GROUP BY clip_id)
        SELECT clip_id, m.frame_id, stratum, pack_path, byte_offset, byte_size, num_frames
        FROM drawn JOIN keyed k USING (clip_id) JOIN middle m USING (clip_id) ORDER BY md5(k.key)""",
        {"seed": str(seed), "num_random": (size + 1) // 2, "num_doubtful": size // 2},
    )
    return tuple(AuditedClip(**row) for row in rows)


def frames_beside(lake: Lake, dataset_id: str, frame_ids: Sequence[str]) -> tuple[str, ...]:
    """The other sampled frames of the dataset's clips that hold one of these frames."""
    rows = lake.rows(
        """WITH found AS (
               SELECT DISTINCT clip_id FROM clip_frames SEMI JOIN (SELECT clip_id FROM shard_clips WHERE dataset_id = $1) USING (clip_id)
               WHERE list_contains($2::VARCHAR[], frame_id))
           SELECT DISTINCT frame_id FROM clip_frames SEMI JOIN found USING (clip_id) WHERE NOT list_contains($2::VARCHAR[], frame_id)
           ORDER BY frame_id""",
        [dataset_id, list(frame_ids)],
    )
    return tuple(str(row["frame_id"]) for row in rows)
