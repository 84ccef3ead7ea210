"""What requalification asks the lake: the stored scores of every current frame, and the percentiles of each device."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from warehouse.lake import Lake
from warehouse.lineage import run_outputs
from warehouse.records import Artifact, FramePack
from warehouse.schema import TABLES

__all__ = ["current_packs", "device_percentiles", "effective_requalification", "export_scores", "latest_requalification", "scored_frames"]

# A device is what the manifest calls it; else what its pictures look like, in steps of 5% because the area found varies by some pixels.
_DEVICE = """coalesce(i.device, format('{}x{} {} {}%x{}% at {}%, {}%', v.width, v.height, v.content_area,
    (20 * f.crop_width // v.width) * 5, (20 * f.crop_height // v.height) * 5, (20 * f.crop_x // v.width) * 5,
    (20 * f.crop_y // v.height) * 5))"""


def latest_requalification(lake: Lake) -> tuple[str, dict[str, Any]] | None:
    """The run whose verdicts count, and its settings; None where there has been none."""
    rows = lake.rows(
        "SELECT run_id, config FROM runs WHERE stage = 'requalify' AND status = 'complete' ORDER BY ended_at DESC, run_id LIMIT 1"
    )
    return (str(rows[0]["run_id"]), json.loads(rows[0]["config"])) if rows else None


def effective_requalification(lake: Lake) -> tuple[Artifact, ...]:
    """The requalification that the candidates depend on, where there is one."""
    latest = latest_requalification(lake)
    return run_outputs(lake, latest[0]) if latest else ()


def scored_frames(lake: Lake) -> dict[str, Any]:
    """Names the frames that there are to decide: how many videos, and the exclusive or of the MD5 of each one's ingest and device."""
    (row,) = lake.rows(
        """SELECT count(*) AS num_videos,
                  coalesce(bit_xor(md5_number(v.video_id || v.ingest_key || coalesce(i.device, ''))), 0)::VARCHAR AS digest
           FROM latest_videos v LEFT JOIN video_info i ON i.video_id = v.video_id"""
    )
    (replaced,) = lake.rows(
        "SELECT count(*) AS num, coalesce(bit_xor(md5_number(new_frame_id)), 0)::VARCHAR AS digest FROM replaced_frames"
    )
    return {**row, "replaced": replaced["digest"]} if replaced["num"] else row


def current_packs(lake: Lake) -> tuple[FramePack, ...]:
    """The frame packs of the current videos, spare ones too, in a fixed order."""
    rows = lake.rows(
        """SELECT p.pack_id, p.video_id, p.path, p.num_bytes, p.num_frames
           FROM packs p JOIN latest_videos v ON v.video_id = p.video_id AND v.ingest_key = p.ingest_key ORDER BY p.video_id, p.path"""
    )
    return tuple(FramePack(**row) for row in rows)


def export_scores(lake: Lake, folder: Path, *, scores: Sequence[str], frames_per_part: int) -> tuple[Path, ...]:
    """Write the scores, ingest's verdict and the device of every current frame as folders of Parquet, whole videos in each.

    Args:
        lake: where the frames are.
        folder: what to fill.
        scores: their columns; one that the lake lacks is null.
        frames_per_part: about how many frames a folder should hold.
    """
    (row,) = lake.rows(
        "SELECT count(*) AS num FROM frames f JOIN latest_videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key"
    )
    known = {*TABLES["frames"].names, *lake.added_scores("frames")}
    columns = ", ".join(f'f."{name}"' if name in known else f'NULL::FLOAT AS "{name}"' for name in scores)
    num_parts = max(1, -(-int(row["num"]) // frames_per_part))
    return lake.copy_to_partitions(
        f"""SELECT md5_number_lower(f.video_id) % {num_parts} AS part, f.video_id, f.frame_id, f.frame_index, {columns}, f.phash, f.keep,
                   f.drop_reason, f.pack_id IS NOT NULL AS is_stored, {_DEVICE} AS device
            FROM frames f JOIN latest_videos v ON v.video_id = f.video_id AND v.ingest_key = f.ingest_key
            LEFT JOIN video_info i ON i.video_id = f.video_id ANTI JOIN replaced_frames o ON o.frame_id = f.frame_id""",
        folder,
        "part",
    )


def device_percentiles(lake: Lake, parts: Sequence[str], percentiles: Mapping[str, float]) -> list[dict[str, Any]]:
    """For each device, how many frames the Parquet `parts` have of it (num_frames) and the named percentile of each named column."""
    if not parts:
        return []
    columns = ", ".join(f'quantile_disc("{name}", {float(percentile) / 100!r}) AS "{name}"' for name, percentile in percentiles.items())
    return lake.rows(
        f"SELECT device, count(*) AS num_frames, {columns} FROM read_parquet($1) GROUP BY device ORDER BY device",
        [list(parts)],
    )
