"""Frames chosen for labelling and frames with a label, and the tables that list them: `labels.csv` beside a folder `images`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from warehouse.store import atomic_file

__all__ = ["ChosenFrame", "LabelledFrame", "image_name", "write_chosen", "write_labelled"]

TABLE = "labels.csv"
IMAGES = "images"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenFrame:
    """A frame that is worth a label."""

    position: int
    """in the order in which frames were chosen, 1 first"""
    frame_id: str
    video_id: str
    group: str
    """pseudonym of the patient; of the video if the patient is not known"""
    pts_us: int
    cluster_id: int
    """finest cluster of the frame in the lake's tree"""
    reason: str
    """why it was chosen, in one word"""
    score: float
    """of that reason, from 0 to 1"""
    width: int
    """of the stored picture in pixels"""
    height: int

    @property
    def image(self) -> str:
        """Name of its picture."""
        return image_name(self.position, self.frame_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrame:
    """A frame with its label."""

    frame_id: str
    video_id: str
    group: str
    pts_us: int
    label: str


def image_name(position: int, frame_id: str) -> str:
    """Name of a picture: its place in the list, by which names are sorted, and the frame's id, by which labels find back to it."""
    return f"{position:05d}_{frame_id}.jpg"


def write_chosen(folder: Path, frames: Sequence[ChosenFrame], read_picture: Callable[[str], bytes]) -> None:
    """Write the pictures, and `labels.csv` with an empty column `label`; filled in, its folder is an evaluation set.

    Args:
        folder: to write to.
        frames: in the order in which they were chosen.
        read_picture: gives the JPEG of a frame by its id.
    """
    for frame in frames:
        _write(folder / IMAGES / frame.image, read_picture(frame.frame_id))
    header = ["path", "label", "group", "frame_id", "video_id", "pts_us", "cluster", "reason", "score"]
    rows = [
        [
            f"{IMAGES}/{frame.image}",
            "",
            frame.group,
            frame.frame_id,
            frame.video_id,
            frame.pts_us,
            frame.cluster_id,
            frame.reason,
            f"{frame.score:.4f}",
        ]
        for frame in frames
    ]
    _write(folder / TABLE, _table(header, rows))


def write_labelled(folder: Path, frames: Sequence[LabelledFrame], read_picture: Callable[[str], bytes]) -> None:
    """Write an evaluation set: pictures and `labels.csv`; see `write_chosen`."""
    rows: list[list[object]] = []
    for number, frame in enumerate(frames, start=1):
        name = f"{IMAGES}/{image_name(number, frame.frame_id)}"
        _write(folder / name, read_picture(frame.frame_id))
        rows.append([name, frame.label, frame.group, frame.frame_id, frame.video_id, frame.pts_us])
    _write(folder / TABLE, _table(["path", "label", "group", "frame_id", "video_id", "pts_us"], rows))


def _table(header: list[str], rows: list[list[object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path, durable=False) as file:
        file.write(data)
