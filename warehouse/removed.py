"""What people and classifiers took out for good, and by which settings, for commands that read the same videos again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from warehouse.lake import Lake
from warehouse.store import content_id

__all__ = ["RemovedMoment", "latest_ingest_settings", "removed_hashes", "removed_moments", "removed_state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedMoment:
    """A time of a video of which nothing may be shown."""

    start_us: int
    end_us: int
    """included"""
    reason: str


def latest_ingest_settings(lake: Lake) -> tuple[str, dict[str, Any]] | None:
    """The latest complete ingest run and its settings; None where there has been none."""
    rows = lake.rows(
        "SELECT run_id, config FROM runs WHERE stage = 'ingest' AND status = 'complete' ORDER BY ended_at DESC, run_id LIMIT 1"
    )
    return (str(rows[0]["run_id"]), json.loads(rows[0]["config"])) if rows else None


def removed_moments(lake: Lake, video_id: str) -> tuple[RemovedMoment, ...]:
    """What was removed of a video: around each removed frame half a second, and all up to the frames beside it in its ingest."""
    rows = lake.rows(
        """WITH beside AS (
               SELECT frame_id, pts_us, lag(pts_us) OVER w AS before_us, lead(pts_us) OVER w AS after_us
               FROM frames WHERE video_id = $1 WINDOW w AS (PARTITION BY ingest_key ORDER BY pts_us))
           SELECT least(b.pts_us - 500000, coalesce(b.before_us + 1, b.pts_us)) AS start_us,
                  greatest(b.pts_us + 500000, coalesce(b.after_us - 1, b.pts_us)) AS end_us, x.reason
           FROM beside b JOIN removed_frames x ON x.frame_id = b.frame_id ORDER BY ALL""",
        [video_id],
    )
    return tuple(RemovedMoment(**row) for row in rows)


def removed_hashes(lake: Lake) -> dict[int, str]:
    """Perceptual hashes of what audits removed, and why: the same film in another file has them too. That of flat pictures is left out."""
    rows = lake.rows(
        """SELECT f.phash, min(x.reason) AS reason FROM removals x JOIN frames f ON f.frame_id = x.frame_id
           WHERE x.reason IN ('identified_in_audit', 'video_removed_in_audit') AND f.phash IS NOT NULL AND f.phash <> '8000000000000000'
           GROUP BY f.phash"""
    )
    return {int(row["phash"], 16): str(row["reason"]) for row in rows}


def removed_state(lake: Lake) -> str:
    """Names all removals: another name as soon as a frame is taken out."""
    (row,) = lake.rows("SELECT count(*) AS num, bit_xor(md5_number_lower(frame_id || reason))::VARCHAR AS parity FROM removals")
    return content_id(row)
