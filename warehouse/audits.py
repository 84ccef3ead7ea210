"""Audits and removals: what is drawn for a person to look at, what came of it, and where removed frames had got to before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from warehouse.lake import Lake, LakeError

__all__ = [
    "AUDIT_COLUMNS",
    "Audit",
    "AuditedFrame",
    "FoundFrame",
    "Stratum",
    "audit_with_id",
    "datasets_with_removed",
    "draw_sample",
    "export_scored",
    "found_frames",
    "frames_of_videos",
    "num_candidates",
    "num_candidates_among",
    "num_found_at_random",
]

Stratum = Literal["random", "doubtful"]

_CANDIDATES = """SELECT c.frame_id, c.video_id, f.out_of_body, f.text_share, c.pack_id AS source_id, c.pack_path AS path, c.byte_offset,
                        c.byte_size FROM candidates c JOIN frames f USING (frame_id) WHERE $dataset_id IS NULL"""
# the same content under another name has the same id, and shards of its own
_DATASET = """SELECT s.frame_id, f.video_id, f.out_of_body, f.text_share, h.sha256 AS source_id, h.path, s.byte_offset, s.byte_size
              FROM shard_frames s JOIN shards h ON h.dataset_id = s.dataset_id AND h.shard = s.shard JOIN frames f USING (frame_id)
              WHERE s.dataset_id = $dataset_id
              QUALIFY row_number() OVER (PARTITION BY s.frame_id ORDER BY h.path) = 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedFrame:
    """A frame of the sample, and where its JPEG lies."""

    frame_id: str
    video_id: str
    stratum: Stratum
    source_id: str
    """of the pack, or of the shard where a dataset is audited"""
    path: str
    """of that pack or shard, relative to the lake's root"""
    byte_offset: int
    byte_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """The state of an audit after all of its sign-offs, which add up: a row of the view audit_status."""

    audit_id: str
    dataset_id: str | None
    status: Literal["open", "clean", "findings"]
    reviewer: str | None
    """everybody who signed it, in order, separated by commas"""
    note: str | None
    num_frames: int
    num_random: int
    """of them drawn at random"""
    num_findings: int | None
    """different frames that any of them found; None for an open audit"""
    seed: int
    sheet: str
    run_id: str
    day: str
    """of the latest state, as YYYY-MM-DD"""
    upper_bound_95: float | None
    """share of identifying frames that is not exceeded with 95% confidence"""
    num_sign_offs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFrame:
    """A frame of a sample, and what hangs on it."""

    position: int
    frame_id: str
    stratum: Stratum
    video_id: str
    uri: str
    """of its video"""
    num_others: int
    """further candidates of that video"""


def draw_sample(lake: Lake, *, size: int, seed: int, dataset_id: str | None = None) -> tuple[AuditedFrame, ...]:
    """Draw frames for a person to look at: one half at random with videos alike, the other half the most doubtful of the rest.

    At random: one frame of every video in turn, in a random order of the videos and of the frames within each, until there are enough;
    so no long video crowds out a short one. Doubtful: by turns one that was never looked at for text, the
    highest out_of_body score and the largest share of text.

    Args:
        lake: where the frames are.
        size: frames wanted; all there are where there are fewer.
        seed: the same one draws the same frames from the same set.
        dataset_id: draw from this dataset's shards; from all candidates where not given.

    Returns:
        The frames in the order in which they are shown, which says nothing of why they were drawn.
    """
    rows = lake.rows(
        f"""
        WITH keyed AS MATERIALIZED (SELECT *, md5($seed || '/' || frame_id) AS key FROM ({_DATASET if dataset_id else _CANDIDATES})),
        turns AS (SELECT frame_id, video_id, row_number() OVER (PARTITION BY video_id ORDER BY key) AS turn FROM keyed),
        random AS (SELECT frame_id FROM turns ORDER BY turn, md5($seed || '/' || video_id) LIMIT $num_random),
        ranked AS (
            SELECT frame_id, key,
                   CASE WHEN out_of_body > 0 THEN row_number() OVER (ORDER BY out_of_body DESC NULLS LAST, key) END AS by_body,
                   CASE WHEN text_share > 0 THEN row_number() OVER (ORDER BY text_share DESC NULLS LAST, key) END AS by_text,
                   CASE WHEN text_share IS NULL THEN row_number() OVER (ORDER BY text_share NULLS FIRST, key) END AS unchecked
            FROM keyed ANTI JOIN random USING (frame_id)),
        doubtful AS (SELECT frame_id FROM ranked ORDER BY least(unchecked, by_body, by_text) NULLS LAST, unchecked NULLS LAST, key
                     LIMIT $num_doubtful),
        drawn AS (SELECT frame_id, 'random' AS stratum FROM random UNION ALL SELECT frame_id, 'doubtful' FROM doubtful)
        SELECT frame_id, video_id, stratum, source_id, path, byte_offset, byte_size FROM drawn JOIN keyed USING (frame_id)
        ORDER BY md5(key)""",
        {"seed": str(seed), "dataset_id": dataset_id, "num_random": (size + 1) // 2, "num_doubtful": size // 2},
    )
    return tuple(AuditedFrame(**row) for row in rows)


def num_candidates(lake: Lake) -> int:
    """How many frames are kept by now."""
    return int(lake.rows("SELECT count(*) AS num FROM candidates")[0]["num"])


def num_candidates_among(lake: Lake, frame_ids: Sequence[str]) -> int:
    """How many of these frames are kept by now."""
    ids = pa.table({"frame_id": pa.array(frame_ids, pa.string())})
    return len(lake.known_ids("candidates", "frame_id", ids))


def export_scored(lake: Lake, scored: Sequence[str], path: Path) -> int:
    """Write the frames of Parquet files with frame_id and score, with their videos, ordered by video and time; returns how many."""
    return lake.copy_to_parquet(
        """SELECT f.video_id, s.frame_id, s.score FROM read_parquet($1) s JOIN frames f USING (frame_id)
           ORDER BY f.video_id, f.ingest_key, f.pts_us""",
        path,
        [list(scored)],
    )


def audit_with_id(lake: Lake, audit_id: str) -> Audit:
    """The audit of that id, or of the one id that starts so.

    Raises:
        LakeError: there is none, or there are several.
    """
    found = lake.look_up(f"SELECT {AUDIT_COLUMNS} FROM audit_status WHERE starts_with(audit_id, $1)", audit_id)
    if len(found) == 1:
        return Audit(**found[0])
    known = [row["audit_id"] for row in lake.rows("SELECT audit_id FROM audit_status ORDER BY drawn_at DESC")]
    raise LakeError(
        f"{audit_id!r} names {len(found)} audits of {lake.root}, expected one of {', '.join(known) or 'none yet'}; "
        "`endoforge privacy-audit` draws one and prints its id"
    )


AUDIT_COLUMNS = """audit_id, dataset_id, status, reviewer, note, num_frames, num_random, num_findings, seed, sheet, run_id,
                    strftime(recorded_at, '%Y-%m-%d') AS day, upper_bound_95, num_sign_offs"""


def found_frames(lake: Lake, audit: Audit, positions: Sequence[int]) -> tuple[FoundFrame, ...]:
    """The frames at these positions of an audit's sheet.

    Raises:
        LakeError: the sheet has no such position.
    """
    rows = lake.rows(
        """WITH found AS (
               SELECT a.position, a.frame_id, a.stratum, f.video_id, v.uri FROM audit_frames a JOIN frames f USING (frame_id)
               JOIN videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
               WHERE a.audit_id = $1 AND list_contains($2::BIGINT[], a.position)),
           others AS (
               SELECT video_id, count(*) AS num FROM candidates
               WHERE video_id IN (SELECT video_id FROM found) AND frame_id NOT IN (SELECT frame_id FROM found) GROUP BY video_id)
           SELECT found.*, coalesce(others.num, 0) AS num_others FROM found LEFT JOIN others USING (video_id) ORDER BY position""",
        [audit.audit_id, list(positions)],
    )
    unknown = sorted(set(positions) - {row["position"] for row in rows})
    if unknown:
        raise LakeError(
            f"the sheet of audit {audit.audit_id} has positions 1 to {audit.num_frames}, got {', '.join(map(str, unknown))}; "
            "give the numbers that stand under the pictures"
        )
    return tuple(FoundFrame(**row) for row in rows)


def num_found_at_random(lake: Lake, audit_id: str, frame_ids: Sequence[str]) -> int:
    """How many frames of the random half these are, together with those that earlier sign-offs of the audit found."""
    (row,) = lake.rows(
        """SELECT count(*) AS num FROM audit_frames WHERE audit_id = $1 AND stratum = 'random' AND (
               list_contains($2::VARCHAR[], frame_id)
               OR frame_id IN (SELECT frame_id FROM removals WHERE source = $1 AND reason = 'identified_in_audit'))""",
        [audit_id, list(frame_ids)],
    )
    return int(row["num"])


def frames_of_videos(lake: Lake, video_ids: Sequence[str]) -> tuple[str, ...]:
    """All frames of these videos, kept and dropped ones, of every ingest."""
    rows = lake.rows("SELECT frame_id FROM frames WHERE list_contains($1::VARCHAR[], video_id) ORDER BY frame_id", [list(video_ids)])
    return tuple(str(row["frame_id"]) for row in rows)


def datasets_with_removed(lake: Lake) -> dict[str, int]:
    """How many removed frames each dataset holds that has any: it was made before they were removed."""
    rows = lake.rows("SELECT dataset, num_removed FROM dataset_audits WHERE num_removed > 0 ORDER BY dataset")
    return {str(row["dataset"]): int(row["num_removed"]) for row in rows}
