"""Frames of videos and their VOC files as items with boxes: in the order of numbers, what cannot be used left out and told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.tasks.items import Item, TaskError, TrueBox
from evaluation.tasks.layout import IMAGE_SUFFIXES
from evaluation.tasks.voc import read_voc

__all__ = ["FrameFile", "child", "frames_in", "items_of_frames", "natural_key"]

_SHOWN = 3
_MOST_LEFT_OUT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFile:
    """A frame and its annotation."""

    image: Path
    annotation: Path
    video: str
    """group of the item; empty where the data names none"""
    split: str = ""


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts names by the numbers in them: frame 9 before frame 10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def child(folder: Path, *names: str) -> Path | None:
    """The subfolder that has one of these names in whichever case."""
    if not folder.is_dir():
        return None
    wanted = {name.casefold() for name in names}
    return next((path for path in sorted(folder.iterdir()) if path.name.casefold() in wanted and path.is_dir()), None)


def frames_in(images: Path, annotations: Path, *, video: str, split: str = "") -> list[FrameFile]:
    """The frames of one folder in the order of their numbers, each with the annotation of its name; suffixes in any case."""
    files = [path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    there = {path.stem: path for path in annotations.iterdir() if path.suffix.lower() == ".xml"} if annotations.is_dir() else {}
    return [
        FrameFile(image=path, annotation=there.get(path.stem, annotations / f"{path.stem}.xml"), video=video, split=split)
        for path in sorted(files, key=lambda path: natural_key(path.name))
    ]


def items_of_frames(task: str, frames: Iterable[FrameFile], *, names: Mapping[str, str]) -> tuple[list[Item], tuple[str, ...]]:
    """Items with boxes, in order, and notes on what was left out.

    A frame whose annotation is missing or damaged is not known to show nothing, so it is left out. Boxes without width or height are
    left out of their frame. A lesion is what REAL-Colon's `unique_id` says; elsewhere a video's boxes of one class are one lesion.

    Args:
        task: its name, for errors.
        frames: of all videos.
        names: class by the name in the files.

    Raises:
        TaskError: more than half of the frames cannot be used.
    """
    items: list[Item] = []
    faults: list[tuple[str, Path, str]] = []
    num_degenerate = num_frames = 0
    for frame in frames:
        num_frames += 1
        home = f"{frame.video}/" if frame.video else ""
        if not frame.image.is_file():
            faults.append((home + frame.image.name, frame.image, f"frame {str(frame.image)!r} does not exist"))
            continue
        try:
            found = read_voc(frame.annotation, names=names)
        except TaskError as error:
            faults.append((home + frame.annotation.name, frame.annotation, str(error)))
            continue
        num_degenerate += found.num_degenerate
        lesions = frame.video or frame.image.name
        boxes = tuple(TrueBox(corners=box.corners, label=box.name, lesion=box.unique_id or f"{lesions} {box.name}") for box in found.boxes)
        group = frame.video or str(frame.image)
        items.append(Item(path=str(frame.image), split=frame.split, group=group, boxes=boxes))
    if len(faults) > _MOST_LEFT_OUT * num_frames:
        raise TaskError(f"task {task}: {len(faults):,} of {num_frames:,} frames cannot be used; the first: {faults[0][2]}")
    notes = []
    if faults:
        more = f" and {len(faults) - _SHOWN:,} more" if len(faults) > _SHOWN else ""
        shown = ", ".join(name for name, _, _ in faults[:_SHOWN]) + more
        num_missing = sum(not os.path.isfile(path) for _, path, _ in faults)
        kinds = f"{num_missing:,} not there, {len(faults) - num_missing:,} damaged or of unknown names"
        notes.append(f"left out: {len(faults):,} of {num_frames:,} frames ({shown}); {kinds}")
    if num_degenerate:
        notes.append(f"degenerate boxes: {num_degenerate:,} without width or height are left out, their frames stay")
    num_empty = sum(not item.boxes for item in items)
    notes.append(f"frames: {len(items):,}, of which {num_empty:,} show nothing")
    return items, tuple(notes)
