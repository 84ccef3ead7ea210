"""The privacy verdict on a dataset: which audit counts for it, and what that audit does not cover."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from warehouse.audits import AUDIT_COLUMNS, Audit
from warehouse.clips import has_clips
from warehouse.lake import Lake
from warehouse.tables.privacy_views import DATASET_AUDIT_STATUS

__all__ = ["AuditStatus", "DatasetAudit", "dataset_audit"]

AuditStatus = Literal["not audited", "open", "clean", "removed", "findings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetAudit:
    """What people found in a dataset, and what they did not look at."""

    status: AuditStatus
    """`findings`: it holds frames that were removed, whichever audit found them. `removed`: its audit had findings, and none of them is in
    it. `clean`: its audit found nothing. `open`: a sample waits for a person."""
    audit: Audit | None
    """the audit drawn last from the dataset or from the candidates; a signed one goes before an open one"""
    num_removed: int
    """removed frames that the dataset holds"""
    num_later_videos: int
    """its videos that were ingested after the sample had been drawn"""
    num_later_frames: int
    """its frames that were no candidates when the sample was drawn; 0 if the sample is of the dataset itself"""
    num_unchecked_for_text: int
    """its frames that were never searched for text"""
    is_of_clips: bool = False
    """whether only an audit of its own counts: those of the candidates look at single frames, and clips hold all those between"""

    @property
    def is_clear(self) -> bool:
        """Whether a person found nothing and nothing has escaped the look."""
        gaps = self.num_removed + self.num_later_videos + self.num_later_frames + self.num_unchecked_for_text
        return self.status == "clean" and not gaps


def dataset_audit(lake: Lake, dataset_id: str, *, samples: Path | None = None) -> DatasetAudit:
    """The verdict on a dataset as of now; for one of clips only an audit of its own counts.

    Args:
        lake: where the dataset is.
        dataset_id: its content id.
        samples: its samples.parquet, for a dataset that is not committed yet.
    """
    used = "read_parquet($frames)" if samples else "dataset_frames WHERE dataset_id = $frames"
    frames = str(samples) if samples else dataset_id
    is_of_clips = has_clips(lake, dataset_id)
    found = lake.rows(
        f"""SELECT {AUDIT_COLUMNS} FROM audit_status WHERE dataset_id = $1 OR (dataset_id IS NULL AND NOT $2)
            ORDER BY status = 'open', drawn_at DESC LIMIT 1""",
        [dataset_id, is_of_clips],
    )
    audit = Audit(**found[0]) if found else None
    (row,) = lake.rows(
        f"""WITH used AS (SELECT DISTINCT frame_id FROM {used}),
               counted AS (
                   SELECT (SELECT count(*) FROM used JOIN frames USING (frame_id) WHERE text_share IS NULL) AS num_unchecked_for_text,
                          (SELECT count(*) FROM used SEMI JOIN removed_frames USING (frame_id)) AS num_removed,
                          $status::VARCHAR AS audit_status)
           SELECT *, {DATASET_AUDIT_STATUS} AS status FROM counted""",
        {"frames": frames, "status": audit.status if audit else None},
    )
    later = _later(lake, used, frames, audit.audit_id) if audit else {"num_later_videos": 0, "num_later_frames": 0}
    return DatasetAudit(
        status=row["status"],
        audit=audit,
        num_removed=row["num_removed"],
        num_unchecked_for_text=row["num_unchecked_for_text"],
        is_of_clips=is_of_clips,
        **later,
    )


def _later(lake: Lake, used: str, frames: str, audit_id: str) -> dict[str, int]:
    (row,) = lake.rows(
        f"""WITH used AS (SELECT DISTINCT frame_id FROM {used}),
               held AS (SELECT f.frame_id, f.video_id, f.ingest_key, f.keep FROM used JOIN frames f USING (frame_id)),
               audit AS (SELECT drawn_at, dataset_id FROM audit_status WHERE audit_id = $audit_id),
               videos_held AS (SELECT DISTINCT video_id, ingest_key FROM held),
               before AS (
                   SELECT r.run_id FROM runs r, audit a WHERE r.stage = 'requalify' AND r.status = 'complete' AND r.ended_at <= a.drawn_at
                   ORDER BY r.ended_at DESC, r.run_id LIMIT 1),
               restored AS (
                   SELECT d.new_frame_id AS frame_id FROM private_decisions d JOIN runs r ON r.run_id = d.run_id AND r.status = 'complete'
                   WHERE d.new_frame_id IS NOT NULL AND r.ended_at > (SELECT drawn_at FROM audit))
           SELECT (SELECT count(*) FROM videos_held JOIN videos v USING (video_id, ingest_key)
                   JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
                   WHERE r.ended_at > (SELECT drawn_at FROM audit)) AS num_later_videos,
                  (SELECT count(*) FROM held LEFT JOIN (FROM requalified SEMI JOIN before USING (run_id)) q ON q.frame_id = held.frame_id
                   LEFT JOIN restored ON restored.frame_id = held.frame_id
                   WHERE (SELECT dataset_id IS NULL FROM audit) AND (restored.frame_id IS NOT NULL OR NOT coalesce(q.keep, held.keep))
                  ) AS num_later_frames""",
        {"frames": frames, "audit_id": audit_id},
    )
    return row
