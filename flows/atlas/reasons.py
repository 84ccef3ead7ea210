"""Frames that were dropped for a reason: small pictures of some, with second and video."""

from __future__ import annotations

import base64
from typing import Any

from flows.atlas.points import Atlas
from warehouse.lake import Lake
from warehouse.summary import SHOWN_PREVIEWS

__all__ = ["dropped_for", "reasons"]

_DROPPED = "dropped: "
"""steps of the funnel that are reasons"""
_MOST = 60
"""pictures of a reason"""


def reasons(atlas: Atlas) -> dict[str, int]:
    """Why current frames were dropped, and how many."""
    return {step.removeprefix(_DROPPED): count for step, count in atlas.funnel if step.startswith(_DROPPED)}


def dropped_for(lake: Lake, atlas: Atlas, reason: str) -> dict[str, Any] | None:
    """Some of the frames that were dropped for a reason; None if none was.

    Pictures are the 160 pixels wide ones of ingest, which made those of private reasons unrecognisable. A frame that a person removed, or
    whose video was flagged and not looked at, is left out, and so is one that has no such picture.
    """
    if reason not in (counts := reasons(atlas)):
        return None
    rows = lake.rows(
        f"""SELECT f.frame_id, f.video_id, f.pts_us, p.jpeg FROM {SHOWN_PREVIEWS}
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
    return {"reason": reason, "num": counts[reason], "pictures": pictures}
