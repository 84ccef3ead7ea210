"""REAL-Colon: boxes of lesions, on the frames and in the division of the task `real_colon`."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from evaluation.tasks.items import TaskError
from evaluation.tasks.real_colon import REAL_COLON, STRIDE
from evaluation.tasks.task import Reading
from evaluation.tasks.voc_tree import FrameFile, items_of_frames

__all__ = ["REAL_COLON_DETECTION"]

NAMES = {"lesion": "lesion"}

_NOMINAL = 30.0


def _read(data: Path) -> Reading:
    try:
        found, notes = REAL_COLON.read(data)
    except TaskError as error:
        raise TaskError(f"task real_colon_detection: {error}") from error
    frames = [
        FrameFile(image=path, annotation=path.parent.with_name(_annotations(path)) / f"{path.stem}.xml", video=item.group)
        for item in found
        for path in (Path(item.path),)
    ]
    items, more = items_of_frames("real_colon_detection", frames, names=NAMES)
    return items, (*notes, *more)


def _annotations(image: Path) -> str:
    video = image.parent.name.removesuffix("_frames")
    plural = image.parent.with_name(f"{video}_annotations")
    return plural.name if plural.is_dir() else f"{video}_annotation"


def _frame_rate(data: Path) -> tuple[float, str]:
    """The mean of the videos' rates, over the frames that are left between two that are read."""
    table = next(iter(sorted(data.rglob("video_info.csv"))), None)
    if table is not None:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rates = [float(row["fps"]) for row in csv.DictReader(file) if (row.get("fps") or "").replace(".", "", 1).isdigit()]
        if rates:
            return sum(rates) / len(rates) / STRIDE, f"video_info.csv, every {STRIDE}th frame"
    return _NOMINAL / STRIDE, f"assumed: {_NOMINAL:g} frames a second, of which every {STRIDE}th is read"


REAL_COLON_DETECTION = replace(
    REAL_COLON, name="real_colon_detection", data="REAL-Colon: boxes of lesions", read=_read, kind="detection", frame_rate=_frame_rate
)
