"""Files that the last ingest which saw them left for the next run: the table `left_files`."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping

import pyarrow as pa

from warehouse.lake import Lake, commit_retries
from warehouse.records import Left
from warehouse.schema import TABLES

__all__ = ["remember_left"]


def remember_left(lake: Lake, seen: Iterable[str], left: Mapping[str, Left]) -> None:
    """Bring the table up to date after an ingest; rows that say the same as before stay as they are.

    Args:
        lake: whose table.
        seen: URIs of all files that the ingest found, those that it left included.
        left: why, by URI.
    """
    before = {row["uri"]: (row["reason"], row["detail"]) for row in lake.rows("SELECT uri, reason, detail FROM left_files")}
    now = {uri: (why.reason, why.detail) for uri, why in left.items()}
    settled = [uri for uri in before.keys() & set(seen) if now.get(uri) != before[uri]]
    new = sorted(uri for uri in now if before.get(uri) != now[uri])
    if not settled and not new:
        return
    since = datetime.datetime.now(datetime.UTC)
    columns = {
        "uri": new,
        "reason": [now[uri][0] for uri in new],
        "detail": [now[uri][1] for uri in new],
        "since": [since] * len(new),
    }
    for attempt in commit_retries():
        with attempt, lake.transaction():
            if settled:
                lake.remove("left_files", pa.table({"uri": settled}))
            if new:
                lake.append("left_files", pa.table(columns, schema=TABLES["left_files"]))
