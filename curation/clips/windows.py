"""Which times of a video are cut: windows of equal length in stretches of footage, by the verdicts on its samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.clips.config import ClipConfig
from curation.ingest import spare_reasons

__all__ = ["Moment", "Window", "breaks_footage", "windows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the lake says of one sample."""

    pts_us: int
    drop_reason: str | None
    """null for a kept frame"""
    text_boxes: str | None
    """JSON, in pixels of the stored frame"""
    width: int | None
    """pixels of the stored frame; None if its picture is in no pack"""
    height: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A time to be cut, in microseconds since the first frame."""

    start_us: int
    end_us: int
    """not included"""


def breaks_footage(reason: str | None) -> bool:
    """Whether a sample with that verdict ends a stretch: it is private, damaged, frozen or was removed by a person.

    Blurred and other poor frames do not, nor do those that resemble their neighbour: film is full of them.
    """
    return reason is not None and (reason == "frozen" or reason not in spare_reasons() | {"not_stored"})


def windows_of(moments: Sequence[Moment], config: ClipConfig) -> tuple[Window, ...]:
    """Cut the stretches between samples that break the footage into windows of `clip_seconds`; the last of each is shorter.

    What lies between a sound sample and one that breaks is in no window. Behind the last sample of the video comes as much as lies between
    two of them.

    Args:
        moments: the samples of one video, in time order.
        config: length, and how many windows at most.
    """
    length = round(config.clip_seconds * 1e6)
    times = [moment.pts_us for moment in moments]
    interval = int(np.median(np.diff(times))) if len(times) > 1 else length
    windows: list[Window] = []
    start: int | None = None
    last = 0
    for number, moment in enumerate(moments):
        is_broken, is_last = breaks_footage(moment.drop_reason), number == len(moments) - 1
        if not is_broken:
            start = moment.pts_us if start is None else start
            last = moment.pts_us
        if start is not None and (is_broken or is_last):
            end = last + (1 if is_broken else max(1, interval))
            windows += [Window(start_us=at, end_us=min(at + length, end)) for at in range(start, end, length)]
            start = None
    most = config.clip_max_per_video
    if most is None or len(windows) <= most:
        return tuple(windows)
    whole = [window for window in windows if window.end_us - window.start_us == length]
    pool = whole if len(whole) >= most else windows
    return tuple(pool[place] for place in sorted({round((2 * number + 1) * len(pool) / (2 * most) - 0.5) for number in range(most)}))
