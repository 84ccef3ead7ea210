"""The `holdout` table's rows: every candidate that goes, with what it matches, and what goes with it.

Unless told otherwise a copy takes its whole video along, and the patient's other videos. A benchmark's picture is one moment of an
examination: a second before and after, the same polyp is seen from another side, which no comparison of pictures finds and a model can
learn from all the same. Sets are split by patient for that reason. It costs an archive of many thousand videos some of them; a model that
has seen its test patients costs the study. A copy is proven picture on picture, so that few videos go for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curation.holdout.names import KnownVideo, NamedVideo
from warehouse.identified import write_with_id
from warehouse.schema import TABLES

__all__ = ["Reasons", "read_copies", "reasons_by_video", "settle_holdout"]

Scope = Literal["frame", "video", "patient"]
Reasons = dict[str, dict[str, Any]]
"""by video id, the columns of what makes the whole video go"""


def reasons_by_video(
    videos: Sequence[KnownVideo], named: Mapping[str, NamedVideo], copies: Sequence[Mapping[str, Any]], scope: Scope
) -> Reasons:
    """Why whole videos go: they are named, or a frame of theirs, or of another video of the same patient, is a copy.

    Args:
        videos: all there are.
        named: those that are held out by name.
        copies: the frames that are copies (columns of `COPIES` in curation/holdout/find.py).
        scope: what goes with a copy, or with a named video.
    """
    found: Reasons = {
        video_id: {"match_kind": name.kind, "reference": name.reference, "reference_sha256": name.reference_sha256}
        for video_id, name in named.items()
    }
    if scope == "frame":
        return found
    by_id = {video.video_id: video for video in videos}
    strongest: Reasons = {}
    for copy in sorted(copies, key=lambda row: (-row["correlation"], row["frame_id"])):
        strongest.setdefault(copy["video_id"], {**_match(copy), "via_frame_id": copy["frame_id"]})
    by_patient: Reasons = {}
    for video_id, reason in [*found.items(), *strongest.items()]:
        for patient in by_id[video_id].patient_ids:
            by_patient.setdefault(patient, reason if "via_frame_id" in reason else {**reason, "match_kind": "patient"})
    for video in videos:
        if video.video_id in found:
            continue
        if video.video_id in strongest and (not video.is_stills or (scope == "patient" and video.patient_ids)):
            found[video.video_id] = strongest[video.video_id]
        elif scope == "patient" and (shared := sorted(video.patient_ids & by_patient.keys())):
            found[video.video_id] = by_patient[shared[0]]
    return found


def read_copies(parts: Sequence[Path]) -> list[dict[str, Any]]:
    """The copies in some Parquet parts, ordered by frame id; few beside the candidates."""
    return sorted((row for part in parts for row in pq.read_table(part).to_pylist()), key=lambda row: str(row["frame_id"]))


def settle_holdout(frames: Path, reasons: Reasons, copies: Sequence[Mapping[str, Any]], *, out: Path) -> tuple[str, dict[str, int]]:
    """Write the rows of what goes, ordered by frame id.

    Args:
        frames: Parquet with frame_id and video_id of the candidates of the videos in `reasons`; others do no harm.
        reasons: why whole videos go.
        copies: the frames that are copies themselves.
        out: Parquet file to write.

    Returns:
        The hold-out's id (SHA-256 over the rows), and how many frames go by kind of match.
    """
    rows = {copy["frame_id"]: _match(copy) for copy in copies}
    table = pq.read_table(frames, columns=["frame_id", "video_id"])
    for frame_id, video_id in zip(table["frame_id"].to_pylist(), table["video_id"].to_pylist(), strict=True):
        if video_id in reasons:
            rows.setdefault(frame_id, reasons[video_id])
    ordered = sorted(rows.items())
    schema = TABLES["holdout"]
    columns = {"frame_id": pa.array([frame_id for frame_id, _ in ordered], pa.string())}
    for name in schema.names[2:]:
        columns[name] = pa.array([row.get(name) for _, row in ordered], schema.field(name).type)
    counts: dict[str, int] = {}
    for row in rows.values():
        counts[row["match_kind"]] = counts.get(row["match_kind"], 0) + 1
    return write_with_id(out, "holdout", "holdout_id", columns), counts


def _match(copy: Mapping[str, Any]) -> dict[str, Any]:
    names = ("match_kind", "reference_sha256", "reference", "hash_distance", "similarity", "correlation")
    return {name: copy[name] for name in names}
