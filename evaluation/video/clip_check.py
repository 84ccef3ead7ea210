"""What a set of labelled clips holds, as tables and pictures for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from PIL import Image

from evaluation.data_check import NUM_SHOWN, Rows, Shown, evenly, jpeg_of
from evaluation.tasks import SPLITS, Item, TaskData
from evaluation.video.clip_frames import ClipSource

__all__ = ["VideoFacts", "duration_rows", "is_short", "middle_frames", "rate_rows", "size_rows"]

_SIDE_PX = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """One video, from its container and the times of its frames; no picture is decoded."""

    seconds: float
    """from the first frame to the end of the last"""
    num_frames: int
    frames_per_s: float
    """rate by the median distance of two frames"""
    is_variable: bool
    """some distance differs by more than a tenth of that"""
    size: tuple[int, int]
    """width and height in pixels, as coded"""


def duration_rows(task: TaskData) -> Rows:
    """Clips of each split: how many, of how many videos, and the shortest, the median and the longest in seconds."""
    rows = []
    for split in SPLITS:
        items = task.split(split)
        seconds = sorted(item.span[1] - item.span[0] for item in items if item.span is not None)
        if seconds:
            told = (seconds[0], median(seconds), seconds[-1])
            rows.append((split, f"{len(items):,}", f"{len({item.path for item in items}):,}", *(f"{value:.2f}" for value in told)))
    return tuple(rows)


def rate_rows(facts: Mapping[str, VideoFacts]) -> Rows:
    """Frame rates of the videos, the commonest first, those of a variable rate apart."""
    counts = Counter(
        "variable, about " * one.is_variable + f"{one.frames_per_s:.4g} frames a second" for one in facts.values()
    ).most_common()
    return tuple((name, f"{count:,}") for name, count in counts)


def size_rows(facts: Mapping[str, VideoFacts]) -> Rows:
    """Picture sizes of the videos, the commonest first."""
    counts = Counter(one.size for one in facts.values()).most_common()
    return tuple((f"{width} x {height}", f"{count:,}") for (width, height), count in counts)


def is_short(item: Item, facts: VideoFacts, *, num_frames: int) -> bool:
    """Whether a clip has fewer frames than are read of it, so that some are read twice."""
    return item.span is not None and (item.span[1] - item.span[0]) * facts.frames_per_s < num_frames - 0.5


def middle_frames(task: TaskData, name: str, source: ClipSource, *, num_workers: int) -> tuple[Shown, ...]:
    """The frame in the middle of some clips of a class, evenly over the set.

    Raises:
        ClipError: a clip cannot be read.
    """
    items = evenly([item for item in task.items if item.label == name], NUM_SHOWN)
    with ThreadPoolExecutor(num_workers) as pool:
        return tuple(pool.map(lambda item: _middle(item, source), items))


def _middle(item: Item, source: ClipSource) -> Shown:
    assert item.span is not None, "an item of a task of clips has a span"
    start, end = item.span
    picture = Image.fromarray(source.read(item.path, [(start + end) / 2])[0])
    picture.thumbnail((_SIDE_PX, _SIDE_PX))
    return Shown(jpeg_of(picture), f"{item.split}, {start:.2f} to {end:.2f} s, {Path(item.path).name}")
