"""Private pictures in the lake: which wait for a person, what was decided, and which may be deleted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from warehouse.lake import Lake, LakeError

__all__ = [
    "ErasablePictures",
    "FlaggedVideo",
    "PrivateAudit",
    "PrivateFrame",
    "boxed_counts",
    "draw_private",
    "erasable_pictures",
    "flag_counts",
    "flagged_videos",
    "frame_rows",
    "frames_of_audit",
    "ingest_settings",
    "num_restored_packs",
    "private_audit_with_id",
    "sheets_of_private_audits",
    "unseen_pictures",
    "waiting_of_videos",
]

_COLUMNS = """p.frame_id, p.video_id, p.ingest_key, p.path, p.byte_offset, p.byte_size, p.width, p.height, p.why, p.unconfirmed_boxes,
              f.pts_us, f.drop_reason"""
_WAITING = """FROM private_frames p JOIN frames f ON f.frame_id = p.frame_id
              JOIN current_videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
              ANTI JOIN private_decisions d ON d.frame_id = p.frame_id
              ANTI JOIN removed_frames x ON x.frame_id = p.frame_id"""
_AUDIT = "audit_id, status, reviewer, note, num_frames, sheet, run_id, strftime(recorded_at, '%Y-%m-%d') AS day"
_LATEST_AUDITS = f"""SELECT {_AUDIT} FROM private_audits a SEMI JOIN runs r ON r.run_id = a.run_id AND r.status = 'complete'
                     QUALIFY row_number() OVER (PARTITION BY audit_id ORDER BY recorded_at DESC) = 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFrame:
    """A private picture, where it lies, and the frame that it is of."""

    frame_id: str
    video_id: str
    ingest_key: str
    path: str
    """of the private pack, relative to the lake's root"""
    byte_offset: int
    byte_size: int
    width: int
    height: int
    why: Literal["out_of_body", "text", "mask"]
    unconfirmed_boxes: str
    """JSON: [x, y, width, height] of each box that is not painted, in pixels"""
    pts_us: int
    drop_reason: str | None
    """of ingest"""
    position: int = 0
    """on the sheet, from 1; 0 if it was not shown"""
    is_decided: bool = False

    @property
    def boxes(self) -> tuple[tuple[int, int, int, int], ...]:
        """The unconfirmed boxes as (x, y, width, height) in pixels."""
        return tuple((x, y, width, height) for x, y, width, height in json.loads(self.unconfirmed_boxes))


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateAudit:
    """The latest state of a look at private pictures."""

    audit_id: str
    status: Literal["open", "signed"]
    reviewer: str | None
    note: str | None
    num_frames: int
    sheet: str
    """path of the page below the lake's root"""
    run_id: str
    day: str
    """of the latest state, as YYYY-MM-DD"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlaggedVideo:
    """A row of the view flagged_videos."""

    video_id: str
    uri: str
    flag: Literal["text", "out of body"]
    share: float
    """mean share of its frames that boxes hide, or share of its samples that were dropped"""
    num_frames: int
    """private pictures that the flag is about"""
    num_waiting: int
    """of them not decided yet"""
    is_audited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasablePictures:
    """Decided pictures of one private pack."""

    path: str
    places: tuple[tuple[int, int], ...]
    """byte offset and size of each"""
    is_whole: bool
    """whether the pack holds no other"""


def flagged_videos(lake: Lake) -> tuple[FlaggedVideo, ...]:
    """The flagged videos, audited ones too, the largest share first."""
    return tuple(FlaggedVideo(**row) for row in lake.rows("FROM flagged_videos"))


def flag_counts(videos: Sequence[FlaggedVideo]) -> str:
    """How many videos have each flag, and how many of them a person has audited, in words."""
    by_flag = {flag: [video for video in videos if video.flag == flag] for flag in sorted({video.flag for video in videos})}
    return ", ".join(f"{len(some):,} for {flag} ({sum(one.is_audited for one in some):,} audited)" for flag, some in by_flag.items())


def boxed_counts(lake: Lake) -> tuple[int, int, float]:
    """Samples with a box over text, all samples, and the mean share of a sample that boxes hide; of the current videos."""
    (row,) = lake.rows(
        """SELECT coalesce(sum(num_frames_boxed), 0)::BIGINT AS boxed, coalesce(sum(num_frames_sampled), 0)::BIGINT AS sampled,
                  coalesce(sum(text_share * num_frames_sampled) / sum(num_frames_sampled), 0)::DOUBLE AS share FROM latest_videos"""
    )
    return row["boxed"], row["sampled"], row["share"]


def draw_private(lake: Lake, *, size: int, seed: int) -> tuple[PrivateFrame, ...]:
    """Draw pictures that wait for a decision, flagged videos first, the videos in turn; ordered by video and time.

    Args:
        lake: where they are.
        size: pictures wanted; all there are if there are fewer.
        seed: the same one draws the same pictures from the same set.
    """
    rows = lake.rows(
        f"""WITH waiting AS (
                SELECT {_COLUMNS}, md5($seed || '/' || p.frame_id) AS key, g.video_id IS NOT NULL AS is_flagged {_WAITING}
                LEFT JOIN (SELECT DISTINCT video_id FROM flagged_videos) g ON g.video_id = p.video_id),
            turns AS (SELECT *, row_number() OVER (PARTITION BY video_id ORDER BY key) AS turn FROM waiting),
            drawn AS (FROM turns ORDER BY is_flagged DESC, turn, key LIMIT $size)
            SELECT * EXCLUDE (key, turn, is_flagged) FROM drawn ORDER BY is_flagged DESC, video_id, pts_us""",
        {"seed": str(seed), "size": size},
    )
    return tuple(PrivateFrame(**row, position=position) for position, row in enumerate(rows, start=1))


def waiting_of_videos(lake: Lake, video_ids: Sequence[str]) -> tuple[PrivateFrame, ...]:
    """All pictures of these videos that wait for a decision, in time order."""
    rows = lake.rows(
        f"SELECT {_COLUMNS} {_WAITING} WHERE list_contains($1::VARCHAR[], p.video_id) ORDER BY p.video_id, f.pts_us", [list(video_ids)]
    )
    return tuple(PrivateFrame(**row) for row in rows)


def frames_of_audit(lake: Lake, audit_id: str) -> tuple[PrivateFrame, ...]:
    """The pictures of a sheet, by position; some may have been decided since."""
    rows = lake.rows(
        f"""SELECT {_COLUMNS}, a.position, EXISTS (SELECT 1 FROM private_decisions d WHERE d.frame_id = p.frame_id) AS is_decided
            FROM private_audit_frames a JOIN private_frames p ON p.frame_id = a.frame_id JOIN frames f ON f.frame_id = p.frame_id
            WHERE a.audit_id = $1 ORDER BY a.position""",
        [audit_id],
    )
    return tuple(PrivateFrame(**row) for row in rows)


def private_audit_with_id(lake: Lake, audit_id: str) -> PrivateAudit:
    """The private audit of that id, or of the one id that starts so.

    Raises:
        LakeError: there is none, or there are several.
    """
    found = lake.look_up(f"SELECT * FROM ({_LATEST_AUDITS}) WHERE starts_with(audit_id, $1)", audit_id)
    if len(found) == 1:
        return PrivateAudit(**found[0])
    known = sorted(row["audit_id"] for row in lake.rows("SELECT DISTINCT audit_id FROM private_audits"))
    raise LakeError(
        f"{audit_id!r} names {len(found)} private audits of {lake.root}, expected one of {', '.join(known) or 'none yet'}; "
        "`endoforge privacy-audit --private` draws one"
    )


def sheets_of_private_audits(lake: Lake) -> tuple[str, ...]:
    """Paths of all sheets with private pictures that were ever written, below the lake's root."""
    return tuple(str(row["sheet"]) for row in lake.rows("SELECT DISTINCT sheet FROM private_audits ORDER BY sheet"))


def frame_rows(lake: Lake, frame_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of the table `frames`, by frame id."""
    rows = lake.rows("SELECT * FROM frames WHERE list_contains($1::VARCHAR[], frame_id) ORDER BY frame_id", [list(frame_ids)])
    return {str(row["frame_id"]): row for row in rows}


def ingest_settings(lake: Lake, video_id: str, ingest_key: str) -> dict[str, Any]:
    """The settings that a video was ingested with."""
    (row,) = lake.rows(
        """SELECT any_value(r.config) AS config FROM videos v JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
           WHERE v.video_id = $1 AND v.ingest_key = $2""",
        [video_id, ingest_key],
    )
    return dict(json.loads(row["config"]))


def num_restored_packs(lake: Lake, video_id: str, ingest_key: str) -> int:
    """How many packs hold pictures of the video that audits brought back."""
    (row,) = lake.rows(
        "SELECT count(*) AS num FROM packs WHERE video_id = $1 AND ingest_key = $2 AND path LIKE '%.restored-%.tar'", [video_id, ingest_key]
    )
    return int(row["num"])


def unseen_pictures(lake: Lake, *, older_than_days: float) -> tuple[str, ...]:
    """Ids of the frames whose private picture nobody has decided about, of videos ingested that many days ago or earlier."""
    rows = lake.rows(
        """SELECT p.frame_id FROM private_frames p ANTI JOIN private_decisions d ON d.frame_id = p.frame_id
           JOIN videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
           JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
           WHERE r.ended_at <= now() - to_seconds($1) ORDER BY p.frame_id""",
        [older_than_days * 86400.0],
    )
    return tuple(str(row["frame_id"]) for row in rows)


def erasable_pictures(lake: Lake, *, kept_too: bool, older_than_days: float = 0.0) -> tuple[ErasablePictures, ...]:
    """Decided pictures, and those of frames that a person removed, by private pack.

    Args:
        lake: where they are.
        kept_too: also those that a sign-off said to keep.
        older_than_days: only of videos ingested that many days ago or earlier; other pictures of their packs stay.
    """
    rows = lake.rows(
        """WITH marked AS (
               SELECT p.path, p.byte_offset, p.byte_size,
                      (x.frame_id IS NOT NULL OR (d.frame_id IS NOT NULL AND ($1 OR NOT d.is_kept)))
                      AND r.ended_at <= now() - to_seconds($2) AS is_erasable
               FROM private_frames p JOIN videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key
               JOIN runs r ON r.run_id = v.run_id AND r.status = 'complete'
               LEFT JOIN private_decisions d ON d.frame_id = p.frame_id
               LEFT JOIN (FROM removed_frames WHERE reason IN ('identified_in_audit', 'video_removed_in_audit')) x
                   ON x.frame_id = p.frame_id)
           SELECT path, list([byte_offset, byte_size] ORDER BY byte_offset) FILTER (is_erasable) AS places,
                  bool_and(is_erasable) AS is_whole
           FROM marked GROUP BY path HAVING bool_or(is_erasable) ORDER BY path""",
        [kept_too, older_than_days * 86400.0],
    )
    return tuple(
        ErasablePictures(path=row["path"], places=tuple((at, size) for at, size in row["places"]), is_whole=row["is_whole"]) for row in rows
    )
