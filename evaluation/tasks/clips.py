"""Clips of one's own videos with labels: a table of (video, start_s, end_s, label), with splits and groups if they are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from evaluation.tasks.items import Item, TaskError
from evaluation.tasks.readers import read_rows
from evaluation.tasks.splits import normalized_split
from evaluation.tasks.table_paths import TablePaths
from evaluation.tasks.task import Reading, Task

__all__ = ["CLIPS", "TABLE", "read_clip_table"]

TABLE = "clips.csv"

_VIDEO = ("video", "path", "file", "clip", "filename")
_GROUP = ("group", "patient", "patient_id", "subject", "case", "procedure", "sequence", "source")


def read_clip_table(table: Path, root: Path) -> Reading:
    """Clips of a CSV with the columns video, start_s, end_s, label, and perhaps split and group.

    Args:
        table: the CSV. Empty times mean the first and the last frame of the video.
        root: folder that video paths start from, and that holds all videos.

    Returns:
        The clips, each with a span in seconds, infinite where the table gives no end, and notes. A video is a group of its own unless a
        column says otherwise.

    Raises:
        TaskError: a column or value is missing or wrong, a clip ends before it begins, or a path leaves `root`.
    """
    rows, roles = read_rows(table)
    named = {name.strip().lower(): name for name in rows[0]}
    columns = {
        "video": next((named[name] for name in _VIDEO if name in named), None),
        "label": roles.get("label"),
        "start": named.get("start_s", named.get("start")),
        "end": named.get("end_s", named.get("end")),
        "split": roles.get("split"),
        "group": next((named[name] for name in _GROUP if name in named), None),
    }
    for role, wanted in (("video", "video"), ("label", "label")):
        if columns[role] is None:
            raise TaskError(f"{table} has columns {', '.join(map(str, rows[0]))} but none called {wanted}; rename one")
    paths = TablePaths(table, root)
    items = [_item(row, number, table, columns, paths) for number, row in enumerate(rows, start=2)]
    return items, paths.notes


def _item(row: Mapping[str, str], line: int, table: Path, columns: Mapping[str, str | None], paths: TablePaths) -> Item:
    def value(role: str) -> str:
        column = columns[role]
        return (row[column] or "").strip() if column is not None else ""

    if not value("video") or not value("label"):
        raise TaskError(f"{table} line {line} has no {'label' if value('video') else 'video'}; complete or remove it")
    path = paths.find(value("video"), line)
    start, end = _seconds(value("start"), 0.0, table, line), _seconds(value("end"), math.inf, table, line)
    if not 0 <= start < end:
        raise TaskError(f"{table} line {line}: the clip goes from {start:g} s to {end:g} s; give a start from 0 on and an end after it")
    return Item(
        path=path,
        label=value("label"),
        split=normalized_split(value("split")) or "",
        group=value("group") or path,
        span=(start, end),
    )


def _seconds(text: str, absent: float, table: Path, line: int) -> float:
    try:
        seconds = float(text) if text else absent
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise TaskError(f"{table} line {line}: {text!r} is no time; give seconds, such as 12.5")
    return seconds


def _read(data: Path) -> Reading:
    table = data / TABLE
    if not table.is_file():
        raise TaskError(f"task clips: {data} has no {TABLE}; give the folder of one with the columns video, start_s, end_s and label")
    return read_clip_table(table, data)


def _is_here(data: Path) -> bool:
    return (data / TABLE).is_file() and not (data / "labels.csv").is_file()


CLIPS = Task(name="clips", data=f"clips of your own videos that {TABLE} labels", read=_read, detect=_is_here)
