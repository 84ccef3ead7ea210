"""What a lake says about its own operation: counts of commands, and the figures that alerts are about.

Times are those at which runs ended, in UTC. Nothing here names a file, a video or a patient.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from warehouse.lake import Lake

__all__ = [
    "Decided",
    "bytes_written_since",
    "datasets_of_runs",
    "decided_since",
    "first_run_at",
    "frames_of_runs",
    "kept_shares",
    "last_drift",
    "last_sign_off",
    "last_video_at",
    "latest_dataset_made",
    "rejects_of_runs",
    "stage_counts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """Files that ingest has decided about, duplicates aside."""

    num_ingested: int
    num_rejected: int

    @property
    def reject_share(self) -> float:
        """Share of them that was rejected, 0-1; 0 where there are none."""
        return self.num_rejected / max(1, self.num_ingested + self.num_rejected)


def frames_of_runs(lake: Lake, run_ids: Sequence[str]) -> dict[str, int]:
    """Frames of the videos that these runs ingested, by the reason for which they were dropped; those kept under `kept`."""
    rows = lake.rows(
        """SELECT if(f.keep, 'kept', f.drop_reason) AS reason, count(*) AS num_frames
           FROM videos v JOIN frames f ON f.video_id = v.video_id AND f.ingest_key = v.ingest_key
           WHERE v.run_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY ALL ORDER BY ALL""",
        [list(run_ids)],
    )
    return {row["reason"]: row["num_frames"] for row in rows}


def rejects_of_runs(lake: Lake, run_ids: Sequence[str]) -> dict[str, int]:
    """Files that these runs rejected, by reason."""
    rows = lake.rows(
        "SELECT reason, count(*) AS num FROM rejects WHERE run_id IN (SELECT unnest($1::VARCHAR[])) GROUP BY ALL ORDER BY ALL",
        [list(run_ids)],
    )
    return {row["reason"]: row["num"] for row in rows}


def datasets_of_runs(lake: Lake, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Datasets that these runs made: name, id, what and how much they hold; the largest first."""
    return lake.rows(
        """SELECT name, dataset_id, kind, num_images, num_shards FROM datasets
           WHERE run_id IN (SELECT unnest($1::VARCHAR[])) ORDER BY num_images DESC, name""",
        [list(run_ids)],
    )


def stage_counts(lake: Lake) -> list[dict[str, Any]]:
    """All runs by stage and status, and when the last of them ended."""
    return lake.rows("SELECT stage, status, count(*) AS num_runs, max(ended_at) AS last_at FROM runs GROUP BY ALL ORDER BY stage, status")


def decided_since(lake: Lake, since: datetime.datetime) -> Decided:
    """What ingest has decided since then."""
    (row,) = lake.rows(
        """WITH recent AS (SELECT DISTINCT run_id FROM runs WHERE stage = 'ingest' AND status = 'complete' AND ended_at >= $1)
           SELECT (SELECT count(*) FROM videos SEMI JOIN recent USING (run_id)) AS num_ingested,
                  (SELECT count(*) FROM rejects SEMI JOIN recent USING (run_id) WHERE reason <> 'duplicate') AS num_rejected""",
        [since],
    )
    return Decided(**row)


def first_run_at(lake: Lake) -> datetime.datetime | None:
    """When the first run of all ended."""
    return _time(lake, "SELECT min(ended_at) AS at FROM runs")


def last_video_at(lake: Lake) -> datetime.datetime | None:
    """When the newest video was ingested."""
    return _time(
        lake,
        """SELECT max(r.ended_at) AS at FROM runs r
           WHERE r.stage = 'ingest' AND r.status = 'complete' AND EXISTS (SELECT 1 FROM videos v WHERE v.run_id = r.run_id)""",
    )


def latest_dataset_made(lake: Lake) -> tuple[str, str, datetime.datetime] | None:
    """Name, id and time of the newest dataset."""
    rows = lake.rows(
        """SELECT d.name, d.dataset_id, r.ended_at FROM datasets d JOIN runs r ON r.run_id = d.run_id AND r.status = 'complete'
           ORDER BY r.ended_at DESC, d.num_images DESC LIMIT 1"""
    )
    return (rows[0]["name"], rows[0]["dataset_id"], rows[0]["ended_at"]) if rows else None


def last_sign_off(lake: Lake) -> datetime.datetime | None:
    """When a person last signed off an audit of kept frames; of a lake without one, when its first dataset was made."""
    signed = _time(lake, "SELECT max(recorded_at) AS at FROM audits WHERE status <> 'open'")
    return signed or _time(lake, "SELECT min(ended_at) AS at FROM runs WHERE stage = 'shard' AND status = 'complete'")


def bytes_written_since(lake: Lake, since: datetime.datetime) -> int:
    """Bytes of what runs have made since then: packs, tars and vectors; the size of checkpoints is not recorded."""
    (row,) = lake.rows(
        """WITH made AS (
               SELECT DISTINCT a.artifact_id, coalesce(a.num_bytes, p.num_frames * p.dim * 2) AS num_bytes  -- vectors are float16
               FROM runs r JOIN edges e ON e.run_id = r.run_id AND e.direction = 'output'
               JOIN artifacts a ON a.artifact_id = e.artifact_id LEFT JOIN embeddings p ON p.part_id = a.artifact_id
               WHERE r.status = 'complete' AND r.ended_at >= $1 AND a.kind <> 'video')
           SELECT coalesce(sum(num_bytes), 0)::BIGINT AS num_bytes FROM made""",
        [since],
    )
    return int(row["num_bytes"])


def last_drift(lake: Lake, since: datetime.datetime) -> float | None:
    """How far new frames lie from their centroids, over the tree's own distance, by the last clustering since then that measured it."""
    rows = lake.rows(
        """SELECT coalesce(metrics ->> 'drift', metrics ->> 'replaced_drift')::DOUBLE AS drift FROM runs
           WHERE stage IN ('place', 'cluster') AND status = 'complete' AND ended_at >= $1
             AND coalesce(metrics ->> 'drift', metrics ->> 'replaced_drift') IS NOT NULL
           ORDER BY ended_at DESC LIMIT 1""",
        [since],
    )
    return float(rows[0]["drift"]) if rows else None


def kept_shares(lake: Lake, since: datetime.datetime) -> tuple[tuple[int, float], tuple[int, float]]:
    """Videos, and the share of their sampled frames that ingest kept (0-1): of those ingested before that time, and since."""
    (row,) = lake.rows(
        """WITH done AS (SELECT run_id, max(ended_at) AS done_at FROM runs WHERE stage = 'ingest' AND status = 'complete' GROUP BY run_id)
           SELECT count(*) FILTER (done_at < $1) AS num_before, count(*) FILTER (done_at >= $1) AS num_after,
                  sum(num_frames_kept) FILTER (done_at < $1) / greatest(1, sum(num_frames_sampled) FILTER (done_at < $1)) AS before,
                  sum(num_frames_kept) FILTER (done_at >= $1) / greatest(1, sum(num_frames_sampled) FILTER (done_at >= $1)) AS after
           FROM videos JOIN done USING (run_id)""",
        [since],
    )
    return (row["num_before"], float(row["before"] or 0)), (row["num_after"], float(row["after"] or 0))


def _time(lake: Lake, statement: str) -> datetime.datetime | None:
    (row,) = lake.rows(statement)
    found: datetime.datetime | None = row["at"]
    return found
