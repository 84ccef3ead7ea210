"""Frames that were dropped for a reason: small pictures of some, with second and video."""

from __future__ import annotations

import base64
from typing import Any

from flows.atlas.points import Atlas
from warehouse.lake import Lake

__all__ = ["dropped_for", "reasons"]

_MOST = 60
"""pictures of a reason"""


def reasons(lake: Lake) -> list[str]:
    """Why current frames were dropped, the most frequent first."""
    return [row["reason"] for row in lake.rows("SELECT reason FROM funnel WHERE step = 'dropped' ORDER BY num_frames DESC, reason")]


def dropped_for(lake: Lake, atlas: Atlas, reason: str) -> dict[str, Any] | None:
    """Some of the frames that were dropped for a reason; None if none was.

    Pictures are the 160 pixels wide ones of ingest, which made those of private reasons unrecognisable. A frame that a person removed, or
    whose video was flagged and not looked at, is left out, and so is one that has no such picture.
    """
    found = lake.rows("SELECT num_frames FROM funnel WHERE step = 'dropped' AND reason = $1", [reason])
    if not found:
        return None
    rows = lake.rows(
        """SELECT f.frame_id, f.video_id, f.pts_us, p.jpeg
           FROM previews p JOIN current_frames f ON f.frame_id = p.frame_id AND f.drop_reason = p.drop_reason
           ANTI JOIN removed_frames x ON x.frame_id = p.frame_id
           ANTI JOIN (FROM flagged_videos WHERE NOT is_audited) v ON v.video_id = f.video_id
           WHERE p.drop_reason = $1 ORDER BY md5(p.frame_id) LIMIT $2""",
        [reason, _MOST],
    )
    places = {video_id: place for place, video_id in enumerate(atlas.videos)}
    pictures = [
        {
            "id": row["frame_id"],
            "video": row["video_id"][:12],
            "place": places.get(row["video_id"], -1),
            "second": round(row["pts_us"] / 1e6, 2),
            "jpeg": base64.b64encode(row["jpeg"]).decode(),
        }
        for row in rows
    ]
    return {"reason": reason, "num": int(found[0]["num_frames"]), "pictures": pictures}
