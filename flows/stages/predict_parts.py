"""What is predicted of each video, kept on disk until all are: a command that was cut off goes on where it was."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluation.report import ArchiveFrame, TimelineEpisode, TimelinePicture, TimelineRow
from flows.stages.predict_inputs import Failure
from warehouse.lineage import RunPlan
from warehouse.records import VideoRef
from warehouse.store import atomic_file, read_json, write_json

__all__ = ["PARTS", "PredictedPart", "claim_folder", "discard_drawn", "part_boxes", "part_table", "read_part", "write_part"]

PARTS, _RECORD, _FAILURES = "parts", "predict.json", "failures.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPart:
    """One input, done; the rows of its table lie beside it (`part_table`)."""

    row: TimelineRow
    failures: tuple[Failure, ...]
    """its images that gave no row"""
    num_frames: int
    seconds: float
    seconds_in_network: float


def claim_folder(out: Path, plan: RunPlan) -> None:
    """Take a folder for a plan: a new or empty one, or one that the same plan has begun.

    Raises:
        ValueError: something else is in it.
    """
    record = out / _RECORD
    if record.is_file() and read_json(record).get("stage_key") == plan.stage_key:
        return
    if out.is_dir() and any(each.name != _FAILURES for each in out.iterdir()):
        raise ValueError(
            f"--out {str(out)!r} is not empty and is no folder of this head, these inputs and these settings; "
            "give a new folder, so that nothing of other predictions stays in it"
        )
    write_json(record, {"stage_key": plan.stage_key})


def part_table(out: Path, name: str) -> Path:
    """The file of a part's rows, without a header."""
    return out / PARTS / f"{name}.csv"


def part_boxes(out: Path, name: str) -> Path:
    """The file of a part's boxes, without a header; of a head of boxes."""
    return out / PARTS / f"{name}.boxes.csv"


def write_part(out: Path, name: str, video: VideoRef, part: PredictedPart) -> None:
    """Keep a part whose table is written."""
    stored = {"video_id": video.video_id, "path": video.path, "part": asdict(part)}
    with atomic_file(_part_file(out, name)) as file:
        file.write(json.dumps(stored, default=_text_of).encode("ascii"))


def read_part(out: Path, name: str, video: VideoRef) -> PredictedPart | None:
    """The part of a video at its place; None where it is not done."""
    if not _part_file(out, name).is_file():
        return None
    stored = read_json(_part_file(out, name))
    if (stored["video_id"], stored["path"]) != (video.video_id, video.path):
        return None
    part = stored["part"]
    return PredictedPart(
        row=_row(part["row"]),
        failures=tuple((name, reason) for name, reason in part["failures"]),
        **{each: part[each] for each in ("num_frames", "seconds", "seconds_in_network")},
    )


def discard_drawn(out: Path, name: str) -> None:
    """Remove the pictures of a video that failed half way."""
    shutil.rmtree(out / "overlays" / name, ignore_errors=True)
    shutil.rmtree(out / "masks" / name, ignore_errors=True)
    (out / "overlays" / f"{name}.mp4").unlink(missing_ok=True)


def _part_file(out: Path, name: str) -> Path:
    return out / PARTS / f"{name}.json"


def _text_of(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _row(stored: dict[str, Any]) -> TimelineRow:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    values["episodes"] = tuple(_episode(each) for each in stored["episodes"])
    values["pictures"] = tuple(TimelinePicture(**_with_jpeg(each)) for each in stored["pictures"])
    return TimelineRow(**values)


def _episode(stored: dict[str, Any]) -> TimelineEpisode:
    return TimelineEpisode(**{**stored, "nearest": tuple(ArchiveFrame(**_with_jpeg(each)) for each in stored["nearest"])})


def _with_jpeg(stored: dict[str, Any]) -> dict[str, Any]:
    return {**stored, "jpeg": base64.b64decode(stored["jpeg"])}
