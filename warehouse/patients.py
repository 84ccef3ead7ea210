"""Contents and the people and places they are said to be of, of which one content may have several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from warehouse.lake import Lake

__all__ = ["contents_of_several"]


def contents_of_several(lake: Lake, kind: Literal["patient", "site"], video_ids: Sequence[str]) -> list[list[str]]:
    """Where each of the contents lies that are said to be of more than one patient, or site; ordered by content."""
    column = "patient_ids" if kind == "patient" else "sites"
    rows = lake.rows(
        f"""SELECT i.video_id, list(DISTINCT s.uri ORDER BY s.uri) AS uris
            FROM video_info i JOIN statements s ON s.video_id = i.video_id
            WHERE len(i.{column}) > 1 AND i.video_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY i.video_id ORDER BY i.video_id""",
        [list(video_ids)],
    )
    return [row["uris"] for row in rows]
