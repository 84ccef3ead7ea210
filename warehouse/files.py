"""Which content was last seen where, so that a file that has not changed is not read again and one that has moved is recognised."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import pyarrow as pa

from warehouse.lake import Lake, commit_retries
from warehouse.records import VideoRef
from warehouse.schema import TABLES

__all__ = ["known_files", "remember_files", "remember_gone"]


def known_files(lake: Lake) -> dict[tuple[str, str], str]:
    """The video id that was last seen at a URI, by (uri, version)."""
    rows = lake.rows("FROM files QUALIFY row_number() OVER (PARTITION BY uri ORDER BY seen_at DESC) = 1")
    return {(row["uri"], row["version"]): row["video_id"] for row in rows if row["video_id"]}


def remember_files(lake: Lake, videos: Sequence[VideoRef]) -> None:
    """Note the content of videos that were read; nothing of those that could not be, or whose version is not known."""
    _append(lake, [(video.uri, video.version, video.video_id, video.num_bytes) for video in videos if video.video_id and video.version])


def remember_gone(lake: Lake, uris: Sequence[str]) -> None:
    """Note that nothing is at these places any more."""
    _append(lake, [(uri, None, None, None) for uri in uris])


def _append(lake: Lake, rows: Sequence[tuple[str, str | None, str | None, int | None]]) -> None:
    if not rows:
        return
    now = datetime.datetime.now(datetime.UTC)
    columns = [*(list(column) for column in zip(*rows, strict=True)), [now] * len(rows)]
    table = pa.table(dict(zip(("uri", "version", "video_id", "num_bytes", "seen_at"), columns, strict=True)), schema=TABLES["files"])
    for attempt in commit_retries():
        with attempt, lake.transaction():
            lake.append("files", table)
